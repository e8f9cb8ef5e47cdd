"""A context vector: a scale and shift of features, or further inputs (CAVIA)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from metaft.additions.addition import Addition, Params
from metaft.errors import MetaftError
from metaft.models.anatomy import COMPOSITE
from metaft.validate import require_count

CONVOLUTION = 3
"""Which convolution is modulated, counted from 1, as in the authors' code; the last where there are fewer."""


@dataclass(frozen=True)
class Context(Addition):
    """One vector that all examples of a task share, and the weights that bring it in.

    Zintgraf et al. 2019, §3.2 and their code. In a network with convolutions the third one's features h, after its
    batch norm if one follows, become γ h + β with (γ, β) = W φ + b (FiLM: Perez et al. 2018). In a network without, the
    context is concatenated to the input of the first Linear layer, so that Linear([x, φ]) = V x + c + W φ.

    Deviations: FiLM starts at γ = 1, β = 0 where φ = 0, so that the network starts as it was given (their b is drawn
    around 0); and it comes before a pooling that follows, not after. W is drawn as torch draws a Linear layer of all
    those inputs, whatever V was drawn from.

    Args:
        size: how many numbers φ has.

    Raises:
        MetaftError: if there are none.
    """

    size: int = 100
    name: ClassVar[str] = "context"
    per_task: ClassVar[tuple[str, ...]] = ("vector",)
    word_by_word: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self.size, "the size of a context", 1)

    def sites(self, model: nn.Module) -> tuple[str, ...]:
        """The third convolution or the batch norm behind it; without convolutions the first Linear layer.

        Raises:
            MetaftError: if there is no such layer.
        """
        layers = dict(model.named_modules())
        convolutions = [name for name, layer in layers.items() if isinstance(layer, nn.modules.conv._ConvNd)]
        if convolutions:
            return (_normalised(model, convolutions[:CONVOLUTION][-1]),)
        inside = tuple(f"{name}." for name, layer in layers.items() if isinstance(layer, COMPOSITE))
        for name, layer in layers.items():
            if isinstance(layer, nn.Linear) and not name.startswith(inside):
                return (name,)
        raise MetaftError(f"{type(model).__name__} has neither a convolution nor a Linear layer to give a context to")

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """φ = 0; W; and for features, b."""
        vector = torch.zeros(self.size)
        if isinstance(layer, nn.Linear):
            bound = (layer.in_features + self.size) ** -0.5
            weight = torch.empty(layer.out_features, self.size).uniform_(-bound, bound, generator=draw)
            return {"vector": vector, "weight": weight}
        filters = layer.num_features if isinstance(layer, nn.modules.batchnorm._BatchNorm) else layer.out_channels
        weight = torch.empty(2 * int(filters), self.size)  # type: ignore[arg-type]
        nn.init.kaiming_uniform_(weight, nonlinearity="linear", generator=draw)
        scale, shift = torch.ones(len(weight) // 2), torch.zeros(len(weight) // 2)
        return {"vector": vector, "weight": weight, "bias": torch.cat([scale, shift])}

    def after(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """γ h + β of features ``[examples, filters, …]``; V x + c + W φ of a Linear layer."""
        brought = own["weight"] @ own["vector"]
        if "bias" not in own:
            return y + brought
        scale, shift = (brought + own["bias"]).reshape(2, -1, *(1,) * (y.dim() - 2))
        return scale * y + shift


def _normalised(network: nn.Module, name: str) -> str:
    """The batch norm that stands right behind a layer in the same module, or else the layer."""
    parent, _, last = name.rpartition(".")
    siblings = list(network.get_submodule(parent).named_children()) if name else []
    for (before, _layer), (after, layer) in pairwise(siblings):
        if before == last and isinstance(layer, nn.modules.batchnorm._BatchNorm):
            return f"{parent}.{after}" if parent else after
    return name
