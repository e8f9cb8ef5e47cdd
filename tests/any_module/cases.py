"""All cases, and what of ``torch.nn`` and ``torch.nn.functional`` has to have one: everything but the tables here."""

from __future__ import annotations

import inspect

import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from tests.any_module import (
    activations,
    attention,
    convolutions,
    dropouts,
    embeddings,
    functions,
    losses,
    norms,
    parametrised,
    pooling,
    recurrent,
    shapes,
)
from tests.any_module.case import Case

KINDS = {
    "norms": norms,
    "recurrent": recurrent,
    "attention": attention,
    "embeddings": embeddings,
    "linear and convolutions": convolutions,
    "pooling": pooling,
    "activations": activations,
    "shapes": shapes,
    "random": dropouts,
    "parametrised, containers": parametrised,
    "losses": losses,
    "functions of torch": functions,
}
CASES: dict[str, Case] = {str(case): case for room in KINDS.values() for case in room.CASES}

NO_LAYER = {
    "Container": "the former name of Module",
    "RNNBase": "what RNN, LSTM and GRU have in common",
    "RNNCellBase": "what the cells have in common",
}
NO_FUNCTION = {
    "assert_int_or_pair": "checks an argument",
    "boolean_dispatch": "chooses among functions",
    "handle_torch_function": "torch's own dispatch",
    "has_torch_function": "torch's own dispatch",
    "has_torch_function_unary": "torch's own dispatch",
    "has_torch_function_variadic": "torch's own dispatch",
    "one_hot": "whole numbers in and out: nothing to differentiate",
    "grouped_mm": "bfloat16 on accelerators only",
    "scaled_mm": "8-bit numbers on accelerators only, without derivatives",
    "native_channel_shuffle": "without a first derivative in torch; channel_shuffle is the same",
    "scaled_grouped_mm": "8-bit numbers on accelerators only, without derivatives",
}
# Cases that are refused, and words of the refusal that show the way out.
REFUSED = {
    "Embedding: max norm": "without max_norm",
    "EmbeddingBag: max norm": "without max_norm",
    "Embedding: scaled by frequency": "without scale_grad_by_freq",
    "EmbeddingBag: scaled by frequency": "without scale_grad_by_freq",
    "CTCLoss": "first-order",
    "F.ctc_loss": "first-order",
    "CrossMapLRN2d": "LocalResponseNorm",
    "torch.utils.checkpoint": "call the function itself",
}


def every_layer() -> list[str]:
    """The public modules of ``torch.nn``, and the parametrisations."""
    is_layer = lambda name: inspect.isclass(getattr(nn, name)) and issubclass(getattr(nn, name), nn.Module)
    wrapping = [f"parametrizations.{name}" for name in parametrizations.__all__]
    return [name for name in dir(nn) if is_layer(name) and not name.startswith("_")] + wrapping


def every_function() -> list[str]:
    """The public functions of ``torch.nn.functional``."""
    is_function = lambda name: callable(getattr(F, name)) and not inspect.isclass(getattr(F, name))
    return [n for n in dir(F) if is_function(n) and n == n.lower() and not n.startswith("_")]
