"""LoRA: a product of two thin matrices beside a weight (Hu et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.additions.addition import Addition, Params, Piece, Weight
from metaft.additions.linear import CONVOLUTIONS, is_transposed, linear_kinds, sizes
from metaft.additions.places import chosen_layers, matrices, transformer_blocks
from metaft.errors import MetaftError
from metaft.models.anatomy import anatomy
from metaft.validate import require_count, require_fraction, require_positive


@dataclass(frozen=True)
class LoRA(Addition):
    """W x + c + s · B A x, where A ``[r, inputs]`` is drawn and B ``[outputs, r]`` begins at 0; s = α/r.

    Hu et al. 2022, "LoRA: low-rank adaptation of large language models", §4.1, eq. 3. It is computed on activations, as
    W + s B A of each task would be a dense matrix a task. Beside a convolution A is one with r filters, B one of 1×1.

    Args:
        rank: r, how many columns B has.
        alpha: α, the strength; r if None.
        on: which layers, as roles (query, key, value, output, attention, up, down, feed-forward, all) or name patterns,
            joined by commas; by default the queries and values of attention, or all but the head in a network without.
        dropout: share of the layer's input that A is not shown in training.
        stabilised: s = α/√r, which suits high ranks (Kalajdzievski 2023, rsLoRA).

    Raises:
        MetaftError: if the rank is below 1, alpha not positive, or dropout no share.
    """

    rank: int = 8
    alpha: float | None = None
    on: tuple[str, ...] | None = None
    dropout: float = 0.0
    stabilised: bool = False
    name: ClassVar[str] = "lora"

    def __post_init__(self) -> None:
        require_count(self.rank, "the rank of lora", 1)
        if self.alpha is not None:
            require_positive(self.alpha, "alpha")
        require_fraction(self.dropout, "the dropout of lora")

    @property
    def scale(self) -> float:
        """s."""
        alpha = self.rank if self.alpha is None else self.alpha
        return alpha / (math.sqrt(self.rank) if self.stabilised else self.rank)

    def sites(self, model: nn.Module) -> Mapping[str, Piece]:
        """The layers named, or those of the default.

        Raises:
            MetaftError: if a part of ``on`` matches no layer, there is none, or a convolution is grouped.
        """
        found: dict[str, Piece] = {}
        for name in self._layers(model):
            layer = model.get_submodule(name)
            if isinstance(layer, CONVOLUTIONS):
                found[name] = _beside_convolution(self, name, layer)
            else:
                found[name] = LowRank(self.rank, self.scale, self.dropout, is_transposed(layer))
        return found

    def _layers(self, model: nn.Module) -> tuple[str, ...]:
        kinds = (*linear_kinds(), *CONVOLUTIONS)
        if self.on is not None:
            return chosen_layers(model, self.on, kinds, self.name)
        if anatomy(model).attends:
            blocks = transformer_blocks(model, self.name)
            named = dict.fromkeys(name for block in blocks for name in (block.query, block.value))
            if found := [name for name in named if isinstance(model.get_submodule(name), kinds)]:
                return tuple(found)
        known = matrices(model, kinds)
        if not known:
            raise MetaftError(f"{type(model).__name__} has no layer to put lora beside")
        return tuple(name for name in known if name != anatomy(model).head) or tuple(known)  # it may be one layer


@dataclass(frozen=True)
class LowRank(Piece):
    """Beside a layer that multiplies by a matrix.

    Args:
        rank: r.
        scale: s.
        dropout: share of the input that A is not shown.
        transposed: whether the weight is ``[inputs, outputs]``.
    """

    rank: int
    scale: float
    dropout: float = 0.0
    transposed: bool = False
    word_by_word: ClassVar[bool] = True

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """A as torch draws a Linear layer's weight, B = 0."""
        inputs, outputs = sizes(layer)
        down = torch.empty(self.rank, inputs)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=draw)
        return {"A": down, "B": torch.zeros(outputs, self.rank)}

    def after(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """W x + c + s · B A x."""
        return y + self.scale * (x @ own["A"].T) @ own["B"].T

    def merged(self, own: Params, weight: Tensor, bias: Tensor | None) -> Weight:
        """W + s · B A."""
        moved = self.scale * own["B"] @ own["A"]
        return weight + (moved.T if self.transposed else moved), bias


@dataclass(frozen=True)
class LowRankConvolution(Piece):
    """Beside a convolution: r filters of the same shape, then a mixture of them.

    Args:
        rank: r.
        scale: s.
        stride: of the convolution.
        padding: likewise.
        dilation: likewise.
        dropout: share of the input that A is not shown.
    """

    rank: int
    scale: float
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    dropout: float = 0.0

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """A as torch draws a convolution's weight, B = 0."""
        filters, *rest = layer.get_parameter("weight").shape
        down = torch.empty(self.rank, *rest)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=draw)
        return {"A": down, "B": torch.zeros(filters, self.rank, *(1,) * (len(rest) - 1))}

    def after(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """W ∗ x + c + s · B ∗ A ∗ x."""
        convolve = (F.conv1d, F.conv2d, F.conv3d)[own["A"].dim() - 3]
        found = convolve(x, own["A"], None, self.stride, self.padding, self.dilation)
        return y + self.scale * convolve(found, own["B"])

    def merged(self, own: Params, weight: Tensor, bias: Tensor | None) -> Weight:
        """W + s · B A, filter by filter."""
        return weight + self.scale * torch.einsum("or,r...->o...", own["B"].flatten(1), own["A"]), bias


def _beside_convolution(lora: LoRA, name: str, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> LowRankConvolution:
    if layer.groups > 1 or layer.padding_mode != "zeros":
        what = f"{layer.groups} groups" if layer.groups > 1 else f"padding_mode {layer.padding_mode!r}"
        raise MetaftError(f"lora beside the convolution {name!r}: {what} cannot be used; leave it out with on=…")
    return LowRankConvolution(lora.rank, lora.scale, layer.stride, layer.padding, layer.dilation, lora.dropout)
