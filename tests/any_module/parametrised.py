"""Weights that are computed: weight norm, spectral norm, orthogonal; and what only holds other layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from tests.any_module.case import Case, layer


class Symmetric(nn.Module):
    """A parametrisation of one's own."""

    def forward(self, w: Tensor) -> Tensor:
        return w.triu() + w.triu(1).transpose(-1, -2)


class Lists(nn.Module):
    """Layers and parameters kept in lists and dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.list = nn.ModuleList([nn.Linear(6, 6), nn.LayerNorm(6)])
        self.dict = nn.ModuleDict({"a": nn.Linear(6, 6), "b": nn.Tanh()})
        self.numbers = nn.ParameterList([torch.randn(6), torch.randn(6)])
        self.named = nn.ParameterDict({"scale": nn.Parameter(torch.randn(6))})

    def forward(self, x: Tensor) -> Tensor:
        for part in self.list:
            x = part(x)
        for part in self.dict.values():
            x = part(x)
        return x * self.named["scale"] * self.numbers[0] + self.numbers[1]


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).tanh())


def of_linear(of: str, wrap, variant: str = "", stateful: bool = False) -> Case:
    return layer(lambda: wrap(nn.Linear(6, 6)), 6, of=of, variant=variant, stateful=stateful, held=stateful)


def of_convolution(of: str, wrap, variant: str, stateful: bool = False) -> Case:
    return layer(lambda: wrap(nn.Conv1d(3, 3, 2)), 3, 4, of=of, variant=variant, stateful=stateful, held=stateful)


ORTHOGONAL = ("matrix_exp", "cayley", "householder")
CASES: list[Case] = [
    of_linear("parametrizations.weight_norm", parametrizations.weight_norm),
    of_linear("parametrizations.weight_norm", lambda m: parametrizations.weight_norm(m, dim=None), "whole"),
    of_convolution("parametrizations.weight_norm", parametrizations.weight_norm, "of a convolution"),
    of_linear("parametrizations.spectral_norm", parametrizations.spectral_norm, "", stateful=True),
    of_convolution("parametrizations.spectral_norm", parametrizations.spectral_norm, "of a convolution", stateful=True),
    *(
        of_linear("parametrizations.orthogonal", lambda m, o=o: parametrizations.orthogonal(m, orthogonal_map=o), o)
        for o in ORTHOGONAL
    ),
    of_linear("parametrize.register_parametrization", lambda m: _own(m)),
    of_linear("utils.weight_norm", lambda m: nn.utils.weight_norm(m)),
    of_convolution("utils.weight_norm", lambda m: nn.utils.weight_norm(m), "of a convolution"),
    of_linear("utils.spectral_norm", lambda m: nn.utils.spectral_norm(m), "", stateful=True),
    layer(
        lambda: nn.utils.weight_norm(nn.LSTM(2, 3, batch_first=True), "weight_hh_l0"),
        3,
        2,
        of="utils.weight_norm",
        variant="of an LSTM",
    ),
    layer(
        lambda: parametrizations.weight_norm(nn.LSTM(2, 3, batch_first=True), "weight_hh_l0"),
        3,
        2,
        of="parametrizations.weight_norm",
        variant="of an LSTM",
    ),
    layer(lambda: nn.Sequential(nn.Linear(6, 6), nn.Tanh()), 6, of="Sequential"),
    layer(lambda: nn.Sequential(), 6, of="Sequential", variant="empty"),
    *(layer(Lists, 6, of=of) for of in ("ModuleList", "ModuleDict", "ParameterList", "ParameterDict")),
    layer(Tied, 6, of="Module", variant="shared weights"),
    layer(lambda: nn.DataParallel(nn.Linear(6, 6)), 6, of="DataParallel"),
]


def _own(module: nn.Module) -> nn.Module:
    parametrize.register_parametrization(module, "weight", Symmetric())
    return module
