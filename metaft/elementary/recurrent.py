"""Recurrent layers written out in elementary operations: torch's own cannot be batched over tasks.

The signatures are those of ``torch.lstm`` and its kin, which ``nn.LSTM`` and its kin call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Thin = Callable[[Tensor, float], Tensor]
State = tuple[Tensor, ...]
Cell = Callable[[Tensor, State, Tensor, "Tensor | None"], State]
"""``(what the input adds, state, recurrent weight, its bias) → state``; the state's first tensor is the output."""


def lstm_cell(given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    """One step of an LSTM (Hochreiter & Schmidhuber 1997, with forget gates: Gers et al. 2000)."""
    into, forget, new, out = (given + F.linear(state[0], weight, bias)).chunk(4, -1)
    cell = forget.sigmoid() * state[1] + into.sigmoid() * new.tanh()
    return out.sigmoid() * cell.tanh(), cell


def gru_cell(given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    """One step of a GRU (Cho et al. 2014), the reset gate after the product, as torch has it."""
    reset, update, new = given.chunk(3, -1)
    of_reset, of_update, of_new = F.linear(state[0], weight, bias).chunk(3, -1)
    candidate = (new + (reset + of_reset).sigmoid() * of_new).tanh()
    share = (update + of_update).sigmoid()
    return ((1 - share) * candidate + share * state[0],)


def tanh_cell(given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    """One step of a plain recurrent layer (Elman 1990)."""
    return ((given + F.linear(state[0], weight, bias)).tanh(),)


def relu_cell(given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    """The same with a rectifier."""
    return ((given + F.linear(state[0], weight, bias)).relu(),)


def recurrent(
    cell: Cell,
    x: Tensor,
    state: State,
    weights: Sequence[Tensor],
    has_biases: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    *,
    sizes: Sequence[int] | None = None,
    thin: Thin | None = None,
) -> State:
    """All layers, directions and steps of a recurrent network.

    Args:
        cell: one step.
        x: ``[steps, examples, width]``, the first two exchanged if ``batch_first``.
        state: tensors ``[layers · directions, examples, …]`` before the first step.
        weights: of each layer and direction: W_ih, W_hh, the two biases, and the projection of the output, if any.
        has_biases: whether there are biases.
        layers: how many.
        dropout: between layers.
        train: whether there is dropout.
        bidirectional: whether a second direction runs backwards.
        batch_first: the layout of ``x``.
        sizes: of a packed sequence ``[all steps' examples, width]``: how many examples each step has, never more than
            the one before.
        thin: dropout with draws of the caller's choice.

    Returns:
        The output ``[steps, examples, directions · width]`` in the layout of ``x``, and the states after each example's
        last step.
    """
    directions = 2 if bidirectional else 1
    size = len(weights) // (layers * directions)
    sequence = x.transpose(0, 1) if batch_first else x
    ends: list[State] = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            own = weights[place * size : (place + 1) * size]
            biases = own[2:4] if has_biases else (None, None)
            project = own[-1] if size == (5 if has_biases else 3) else None
            here = tuple(part[place] for part in state)
            # The inputs of all steps in one product; only the state has to wait.
            all_given = F.linear(sequence, own[0], biases[0])
            given = all_given.unbind(0) if sizes is None else all_given.split(list(sizes))
            found: list[Tensor] = []
            for one in reversed(given) if direction else given:
                moved = cell(one, tuple(part[: len(one)] for part in here), own[1], biases[1])
                if project is not None:
                    moved = (F.linear(moved[0], project), *moved[1:])
                found.append(moved[0])
                # Shorter sequences have ended, or backwards not begun.
                rests = (part[len(one) :] for part in here)
                here = tuple(torch.cat([m, r]) if len(r) else m for m, r in zip(moved, rests, strict=True))
            join = torch.stack if sizes is None else torch.cat
            outputs.append(join(found[::-1] if direction else found))
            ends.append(here)
        sequence = torch.cat(outputs, -1) if bidirectional else outputs[0]
        if thin is not None and train and dropout > 0 and layer < layers - 1:
            sequence = thin(sequence, dropout)
    last = tuple(torch.stack(parts) for parts in zip(*ends, strict=True))
    return sequence.transpose(0, 1) if batch_first else sequence, *last


def packed(input: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """``torch._pack_padded_sequence``: the steps one after another, each with the examples that still run.

    Args:
        input: ``[steps, examples, ...]``, the first two exchanged if ``batch_first``; longest examples first.
        lengths: ``int64 [examples]``.
        batch_first: the layout.

    Returns:
        ``[all steps' examples, ...]``, and how many examples each step has.
    """
    sequence, ends = input.transpose(0, 1) if batch_first else input, lengths.tolist()
    sizes = [sum(end > step for end in ends) for step in range(max(ends))]
    return torch.cat([sequence[step, :size] for step, size in enumerate(sizes)]), torch.tensor(sizes)


def unpacked(
    data: Tensor, batch_sizes: Tensor, batch_first: bool, padding_value: float, total_length: int
) -> tuple[Tensor, Tensor]:
    """``torch._pad_packed_sequence``, the way back; ``total_length`` of 0 or less is that of the longest."""
    sizes = batch_sizes.tolist()
    blank = data.new_full((sizes[0], *data.shape[1:]), padding_value)
    rows = [torch.cat([part, blank[len(part) :]]) for part in data.split(sizes)]
    rows += [blank] * (max(total_length, len(sizes)) - len(sizes))
    lengths = torch.tensor([sum(size > example for size in sizes) for example in range(sizes[0])])
    whole = torch.stack(rows)
    return whole.transpose(0, 1) if batch_first else whole, lengths
