"""Layers with a matrix, of torch and of others."""

from __future__ import annotations

import sys

from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def linear_kinds() -> tuple[type[nn.Module], ...]:
    """Linear layers, and GPT-2's, whose weight is transposed, where that is loaded."""
    library = sys.modules.get("transformers.pytorch_utils")
    return (nn.Linear,) if library is None else (nn.Linear, library.Conv1D)


def is_transposed(layer: nn.Module) -> bool:
    """Whether a layer's weight is ``[inputs, outputs]``."""
    return not isinstance(layer, nn.Linear)


def sizes(layer: nn.Module) -> tuple[int, int]:
    """How many numbers a layer is given, and how many it answers with."""
    if isinstance(layer, nn.MultiheadAttention):
        return layer.embed_dim, layer.embed_dim
    outputs, inputs = layer.get_parameter("weight").shape
    return (outputs, inputs) if is_transposed(layer) else (inputs, outputs)
