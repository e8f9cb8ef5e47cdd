"""Scope biases: every additive term of every layer of torch, found by enumeration."""

import inspect

import pytest
from torch import nn

from metaft.inner.scope import is_bias, select

# Every layer of torch.nn that has parameters, with the arguments that it needs.
ARGUMENTS = {
    "Bilinear": (2, 3, 4),
    "Embedding": (5, 2),
    "EmbeddingBag": (5, 2),
    "GroupNorm": (2, 4),
    "LayerNorm": (4,),
    "RMSNorm": (4,),
    "PReLU": (),
    "MultiheadAttention": (4, 2),
    "AdaptiveLogSoftmaxWithLoss": (4, 10, [2, 5]),
    "Transformer": (4, 2, 1, 1, 4),
    "TransformerEncoderLayer": (4, 2, 4),
    "TransformerDecoderLayer": (4, 2, 4),
}
EXTRA = {"MultiheadAttention": {"add_bias_kv": True}, "InstanceNorm1d": {"affine": True}, "LSTM": {"proj_size": 2}}


def layers_of_torch():
    for name, kind in sorted(vars(nn).items()):
        if not (inspect.isclass(kind) and issubclass(kind, nn.Module)) or name.startswith(("Lazy", "Container", "NLL")):
            continue
        needed = [
            p
            for p in inspect.signature(kind).parameters.values()
            if p.default is p.empty and p.kind != p.VAR_POSITIONAL
        ]
        for arguments in (ARGUMENTS.get(name), (), (4,), (4, 4), (4, 4, 3)):
            if arguments is None:
                continue
            try:
                layer = kind(*arguments, **EXTRA.get(name, {}))
            except (TypeError, ValueError, AssertionError):
                continue
            if any(True for _ in layer.parameters()):
                yield pytest.param(layer, id=f"{name}-{len(needed)}")
            break


TORCH = list(layers_of_torch())
ADDED = {"bias", "in_proj_bias", "bias_k", "bias_v"}


def test_the_enumeration_finds_the_layers():
    found = {type(p.values[0]).__name__ for p in TORCH}
    expected = {"Linear", "Bilinear", "Conv3d", "ConvTranspose1d", "LSTM", "GRU", "RNN", "LSTMCell", "GRUCell",
            "RNNCell", "BatchNorm2d", "GroupNorm", "MultiheadAttention",
            "TransformerDecoderLayer", "Embedding"}  # fmt: skip
    assert expected <= found


@pytest.mark.parametrize("layer", TORCH)
def test_biases_are_every_additive_term_of_every_layer(layer):
    for name, parameter in layer.named_parameters():
        last = name.split(".")[-1]
        recurrent = last.startswith(("bias_ih", "bias_hh"))
        assert is_bias(name) == (last in ADDED or recurrent), name
        assert not (is_bias(name) and parameter.dim() == 2), name  # no matrix is one


def test_biases_of_an_lstm_and_of_parametrised_layers():
    """The instance of the list: ``weights`` took both biases of an LSTM."""
    network = nn.ModuleDict({"out": nn.Linear(4, 3), "cells": nn.LSTM(4, 4)})
    names = [name for name, _ in network.named_parameters()]
    assert set(select(names, "biases")) == {"out.bias", "cells.bias_ih_l0", "cells.bias_hh_l0"}
    assert set(select(names, "weights")) == {"out.weight", "cells.weight_ih_l0", "cells.weight_hh_l0"}
    layer = nn.utils.parametrize
    both = nn.Linear(3, 3)
    for part in ("weight", "bias"):
        layer.register_parametrization(both, part, nn.Identity())
    names = [name for name, _ in both.named_parameters()]
    assert select(names, "biases") == ("parametrizations.bias.original",)
    assert not is_bias("bias.weight")  # a layer of that name
