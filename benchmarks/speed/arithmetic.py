"""How much arithmetic a meta-gradient is, and how fast this machine does arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.problem import Problem

# Passes over a layer, each as many operations as its forward pass. The inner gradient: forward, towards the weights,
# towards the input. Its reverse (the Hessian-vector product): both operands of each of those three. A layer that sees
# the data itself needs no gradient towards its input, which leaves 2 of 3 and 2 of 6.
GRADIENT, GRADIENT_FIRST = 3, 2
REVERSE, REVERSE_FIRST = 6, 2


@dataclass(frozen=True)
class Rate:
    """Operations a second, the best of several shapes, all cores.

    Args:
        convolution: 3×3 convolutions of 64 channels, forward.
        product: square matrix products.
    """

    convolution: float
    product: float


def forward_flop(network: nn.Module, x: Tensor) -> tuple[float, float]:
    """Operations of one forward pass in convolutions, linear layers, attention, LSTMs: multiplications and additions.

    Args:
        network: any module.
        x: ``[examples, *input]``.

    Returns:
        Those of layers that see the data itself, and those of all others.
    """
    counts = {True: 0.0, False: 0.0}

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        counts[not inputs[0].requires_grad] += 2 * products(layer, inputs, output)

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.MultiheadAttention | nn.LSTM)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    network(x)
    for hook in hooks:
        hook.remove()
    return counts[True], counts[False]


def products(layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> float:
    """Multiplications of one layer's forward pass.

    Args:
        layer: a convolution, a linear layer, attention of a sequence to itself (batch first), or an LSTM of one layer.
        inputs: what it was given.
        output: what it gave.
    """
    if isinstance(layer, nn.MultiheadAttention):
        examples, tokens, width = inputs[0].shape
        # Four projections; every query with every key, every weight with every value.
        return float(examples * tokens * width * (4 * width + 2 * tokens))
    if isinstance(layer, nn.LSTM):
        places = inputs[0].numel() // layer.input_size
        return float(places * 4 * layer.hidden_size * (layer.input_size + layer.hidden_size))
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return float(weight.shape[1:].numel() * output.numel())  # the first are behind one number of the output


def meta_gradient_flop(problem: Problem) -> float:
    """The least arithmetic of one meta-gradient: nothing recomputed, elementwise work not counted.

    Args:
        problem: what is computed.

    Returns:
        Operations over all tasks, all inner steps and the query pass.
    """
    model, batch = problem.model(), problem.batch
    first, rest = forward_flop(model, batch.support_x[0])
    query_first, query_rest = forward_flop(model, batch.query_x[0])
    inner = GRADIENT_FIRST * first + GRADIENT * rest
    if not problem.first_order:
        inner += REVERSE_FIRST * first + REVERSE * rest
    return batch.tasks * (problem.steps * inner + GRADIENT_FIRST * query_first + GRADIENT * query_rest)


def machine_rate(seconds: float = 1.0) -> Rate:
    """Measure how fast this machine is at what the networks are made of, with all its cores.

    Args:
        seconds: spent on each shape.

    Returns:
        The rates.
    """
    weight = torch.rand(64, 64, 3, 3)
    convolution, product = 0.0, 0.0
    with torch.no_grad():
        for examples, size in ((32, 28), (128, 14), (64, 42)):
            x = torch.rand(examples, 64, size, size).contiguous(memory_format=torch.channels_last)
            flop = 2.0 * 64 * 9 * x.numel()
            convolution = max(convolution, flop / _best(partial(F.conv2d, x, weight, padding=1), seconds))
        for n in (512, 1024, 2048):
            a = torch.rand(n, n)
            product = max(product, 2.0 * n**3 / _best(partial(torch.mm, a, a), seconds))
    return Rate(convolution, product)


def _best(call: Callable[[], object], seconds: float) -> float:
    call()
    end, best = time.perf_counter() + seconds, float("inf")
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best
