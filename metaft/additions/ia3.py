"""(IA)³: keys, values and hidden activations are scaled, number by number (Liu et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from metaft.additions.addition import Addition, Params, Piece, Weight
from metaft.additions.linear import CONVOLUTIONS, is_transposed, linear_kinds, sizes
from metaft.additions.places import matrices, transformer_blocks
from metaft.errors import MetaftError
from metaft.models.anatomy import anatomy


@dataclass(frozen=True)
class IA3(Addition):
    """l ⊙ keys, l ⊙ values, and l ⊙ the hidden activations of feed-forward; each l begins at 1.

    Liu et al. 2022, "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning", §3.3:
    "infused adapter by inhibiting and amplifying inner activations".

    Args:
        attention: whether keys and values are scaled.
        feed_forward: whether hidden activations are.

    Raises:
        MetaftError: if neither is.
    """

    attention: bool = True
    feed_forward: bool = True
    name: ClassVar[str] = "ia3"

    def __post_init__(self) -> None:
        if not (self.attention or self.feed_forward):
            raise MetaftError("ia3 with attention=no and feed_forward=no scales nothing; leave one of them out")

    def sites(self, model: nn.Module) -> Mapping[str, Piece]:
        """The layers of keys and values, and the last one of feed-forward; in a network without attention all layers
        but the first that runs, as their inputs are its hidden activations.

        Raises:
            MetaftError: if one layer gives keys, values and queries of unequal sizes, or there is no layer.
        """
        found: dict[str, Piece] = {}
        if not anatomy(model).attends:
            return self._hidden(model)
        for block in transformer_blocks(model, self.name):
            layers = dict.fromkeys((block.key, block.value)) if self.attention else {}
            for layer in layers:
                module = model.get_submodule(layer)
                if not isinstance(module, linear_kinds()):
                    raise MetaftError(
                        f"ia3: {layer!r} is {type(module).__name__}, whose keys and values no layer gives; take "
                        "attention=no"
                    )
                found[layer] = ScaledOutputs(2 / 3 if block.together else 1.0, is_transposed(module))
            if self.feed_forward and block.down is not None:
                found[block.down] = ScaledInputs(is_transposed(model.get_submodule(block.down)))
        return found

    def _hidden(self, model: nn.Module) -> Mapping[str, Piece]:
        order = anatomy(model).order
        known = matrices(model, (*linear_kinds(), *CONVOLUTIONS))
        found = sorted((name for name in known if name in order), key=order.index)[1:]
        if not (found and self.feed_forward):
            raise MetaftError(f"ia3 scales hidden activations, and this {type(model).__name__} has none")
        return {name: ScaledInputs(spread=_spread(model.get_submodule(name))) for name in found}


@dataclass(frozen=True)
class ScaledOutputs(Piece):
    """l ⊙ (W x + c), or of its last numbers.

    Args:
        share: how many of the numbers are scaled, from the last: 2/3 of queries, keys and values in one.
        transposed: whether the weight is ``[inputs, outputs]``.
    """

    share: float = 1.0
    transposed: bool = False
    word_by_word: ClassVar[bool] = True

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """l = 1."""
        return {"scale": torch.ones(round(self.share * sizes(layer)[1]))}

    def after(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """l ⊙ y."""
        return y * _filled(own["scale"], y.shape[-1])

    def merged(self, own: Params, weight: Tensor, bias: Tensor | None) -> Weight:
        """l ⊙ W and l ⊙ c."""
        scale = _filled(own["scale"], weight.shape[-1 if self.transposed else 0])
        return weight * (scale if self.transposed else scale.unsqueeze(-1)), None if bias is None else bias * scale


@dataclass(frozen=True)
class ScaledInputs(Piece):
    """W (l ⊙ x) + c; of a convolution, channel by channel.

    Args:
        transposed: whether the weight is ``[inputs, outputs]``.
        spread: over how many axes of space.
    """

    transposed: bool = False
    spread: int = 0
    word_by_word: ClassVar[bool] = True

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """l = 1."""
        return {"scale": torch.ones(layer.in_channels if isinstance(layer, CONVOLUTIONS) else sizes(layer)[0])}

    def before(self, own: Params, x: Tensor) -> Tensor:
        """l ⊙ x."""
        return x * own["scale"].reshape(-1, *(1,) * self.spread)

    def merged(self, own: Params, weight: Tensor, bias: Tensor | None) -> Weight | None:
        """W diag(l); None for a grouped convolution."""
        if self.spread and weight.shape[1] != len(own["scale"]):
            return None
        return weight * own["scale"].reshape(-1, *(1,) * (self.spread or self.transposed)), bias


def _spread(layer: nn.Module) -> int:
    return layer.weight.dim() - 2 if isinstance(layer, CONVOLUTIONS) else 0


def _filled(scale: Tensor, size: int) -> Tensor:
    """With ones before it."""
    return scale if len(scale) == size else torch.cat([scale.new_ones(size - len(scale)), scale])
