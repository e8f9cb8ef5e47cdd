"""What compiled code stores rather than computes again: the pass over its graph, on graphs and in a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor.inductor_prims import force_stride_order
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from metaft.elementary.batch_norm import normalise, var_mean
from metaft.elementary.max_pooling import max_pool2d
from metaft.outer.kernels.hoist_channels_pass import LARGE, ComputedOnce
from metaft.outer.kernels.passes import InTurn


def traced(function: Callable[..., Tensor], *inputs: Tensor) -> tuple[GraphModule, list[Any]]:
    """The function's graph after the pass, and what it stores."""
    graph = make_fx(function, tracing_mode="fake")(*inputs)
    ComputedOnce()(graph.graph)
    graph.recompile()
    return graph, [node.args[0] for node in graph.graph.find_nodes(op="call_function", target=force_stride_order)]


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return normalise(x, *var_mean(x), weight, bias, 1e-5)


def test_numbers_of_a_channel_are_stored_and_the_result_is_the_same() -> None:
    x, weight, bias = torch.randn(20, 8, 16, 16), torch.randn(8), torch.randn(8)
    graph, stored = traced(batch_norm, x, weight, bias)
    assert stored
    assert all(node.meta["val"].numel() == 8 for node in stored)
    assert torch.equal(graph(x, weight, bias), batch_norm(x, weight, bias))


def test_small_computations_and_plain_arguments_are_left_as_they_are() -> None:
    assert traced(batch_norm, torch.randn(2, 8, 4, 4), torch.randn(8), torch.randn(8))[1] == []
    assert traced(lambda x, bias: x + bias.reshape(1, -1, 1, 1), torch.randn(20, 8, 16, 16), torch.randn(8))[1] == []


def test_what_max_pooling_takes_apart_is_stored_where_it_is_computed() -> None:
    x = torch.randn(4, 8, 32, 32).to(memory_format=torch.channels_last)
    graph, stored = traced(lambda x: max_pool2d(torch.relu(x * 2), (2, 2)), x)
    assert [node.meta["val"].numel() for node in stored] == [x.numel()]
    assert x.numel() >= LARGE
    assert torch.equal(graph(x), max_pool2d(torch.relu(x * 2), (2, 2)))
    assert traced(lambda x: max_pool2d(x, (2, 2)), x)[1] == []


def test_with_a_pass_that_cannot_say_what_it_is_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = [ComputedOnce(), ComputedOnce()]
    assert InTurn(passes).uuid() is not None
    monkeypatch.setattr(passes[1], "uuid", lambda: None)
    assert InTurn(passes).uuid() is None


@pytest.mark.parametrize("order", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_compiled_block_has_the_derivatives_of_the_uncompiled_one(order: int) -> None:
    from metaft.outer.compiled import compile_if_possible

    draw = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, 24, 24, generator=draw).to(memory_format=torch.channels_last)
    params = [torch.randn(16, 3, 3, 3, generator=draw), torch.rand(16, generator=draw), torch.randn(16, generator=draw)]

    def block(kernel: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        answer = torch.relu(batch_norm(torch.nn.functional.conv2d(x, kernel, padding=1), weight, bias))
        return max_pool2d(answer, (2, 2)).sin().sum()

    first = torch.func.grad(block, (0, 1, 2))
    second = torch.func.grad(lambda *p: sum(g.square().sum() for g in first(*p)), (0, 1, 2))
    derivative = (first, second)[order - 1]
    for found, expected in zip(compile_if_possible(derivative)(*params), derivative(*params), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
