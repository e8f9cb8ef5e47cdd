"""Layers with a matrix, of torch and of others."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from metaft.models.quantised_layers import Quantised, transposed_kind

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def linear_kinds() -> tuple[type[nn.Module], ...]:
    """Linear layers, quantised ones among them, and GPT-2's, whose weight is transposed, where that is loaded."""
    other = transposed_kind()
    return (nn.Linear,) if other is None else (nn.Linear, other)


def matrix(layer: nn.Module) -> Tensor:
    """The weight of a layer; of a quantised one, unpacked."""
    found: Any = layer.weight
    return found


def is_transposed(layer: nn.Module) -> bool:
    """Whether a layer's weight is ``[inputs, outputs]``."""
    other = transposed_kind()
    return other is not None and issubclass(layer.kind if isinstance(layer, Quantised) else type(layer), other)


def sizes(layer: nn.Module) -> tuple[int, int]:
    """How many numbers a layer is given, and how many it answers with."""
    if isinstance(layer, nn.MultiheadAttention):
        return layer.embed_dim, layer.embed_dim
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    inputs, outputs = layer.get_parameter("weight").shape
    return inputs, outputs
