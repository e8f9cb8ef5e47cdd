"""Small networks that make the vectors of a prompt, in plain operations that tasks can do together."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import linear, relu

from metaft.additions.addition import Params

MadeBy = Literal["none", "lstm", "mlp"]
LSTM_LAYERS = 2
DIRECTIONS = "", "_reverse"


def create_lstm(width: int, hidden: int, draw: torch.Generator) -> Params:
    """Weights of an LSTM of two layers in both directions, and of two layers behind it, drawn as torch draws them.

    Args:
        width: of a vector.
        hidden: of the LSTM's state.
        draw: where random numbers come from.

    Returns:
        By torch's names; the two biases of a gate, which are only seen as a sum, are one.
    """
    found, bound = Params(), hidden**-0.5
    for layer in range(LSTM_LAYERS):
        for direction in DIRECTIONS:
            shapes = {
                "weight_ih": (4 * hidden, 2 * hidden if layer else width), "weight_hh": (4 * hidden, hidden),
                "bias": (4 * hidden,),
            }  # fmt: skip
            for name, shape in shapes.items():
                found[f"{name}_l{layer}{direction}"] = torch.empty(shape).uniform_(-bound, bound, generator=draw)
    return found | create_layers((2 * hidden, 2 * hidden, width), draw)


def create_layers(widths: tuple[int, ...], draw: torch.Generator) -> Params:
    """Weights and biases of Linear layers, drawn as torch draws them.

    Args:
        widths: of the input and behind each layer.
        draw: where random numbers come from.

    Returns:
        ``weight_0``, ``bias_0``, ….
    """
    found = Params()
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        bound = inputs**-0.5
        for name, shape in ((f"weight_{i}", (outputs, inputs)), (f"bias_{i}", (outputs,))):
            found[name] = torch.empty(shape).uniform_(-bound, bound, generator=draw)
    return found


def layers(own: Params, x: Tensor) -> Tensor:
    """Linear layers with ReLU between them.

    Args:
        own: ``weight_0``, ``bias_0``, ….
        x: ``[..., inputs]``.

    Returns:
        ``[..., outputs]``.
    """
    count = sum(name.startswith("weight_") and name[7:].isdigit() for name in own)
    for i in range(count):
        x = linear(relu(x) if i else x, own[f"weight_{i}"], own[f"bias_{i}"])
    return x


def lstm(own: Params, x: Tensor) -> Tensor:
    """An LSTM (Hochreiter & Schmidhuber 1997; gates as torch's) over vectors, in both directions.

    Args:
        own: see `create_lstm`.
        x: ``[places, width]``.

    Returns:
        ``[places, 2 · hidden]``.
    """
    for layer in range(LSTM_LAYERS):
        there = _direction(own, f"l{layer}", x)
        back = _direction(own, f"l{layer}_reverse", x.flip(0)).flip(0)
        x = torch.cat([there, back], dim=-1)
    return x


def _direction(own: Params, which: str, x: Tensor) -> Tensor:
    given = linear(x, own[f"weight_ih_{which}"], own[f"bias_{which}"])
    again = own[f"weight_hh_{which}"]
    state = cell = given.new_zeros(again.shape[-1])
    states = []
    for at_place in given.unbind(0):
        enter, forget, new, leave = (at_place + again @ state).chunk(4)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        state = leave.sigmoid() * cell.tanh()
        states.append(state)
    return torch.stack(states)
