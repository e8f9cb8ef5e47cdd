"""Convolutions of small images in compiled code, and their gradients: kernels of our own in place of a library's."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

from metaft.outer.kernels.build import build

SOURCES = Path(__file__).with_name("blocks.h"), Path(__file__).with_suffix(".cpp")
MOST = 2**22
"""Values of the images, before or after, beyond which a library's convolution is as quick."""
DEEPEST = 2**13
"""Numbers that are added one after another in float32 at most; a library adds blocks of them."""
LANES = 16
"""A multiple of every processor's vector: numbers of channels that are not are left to the library."""
CONVOLUTION, BACKWARD = torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default
PERMUTE, SLICE = torch.ops.aten.permute.default, torch.ops.aten.slice.Tensor
TURNED = [1, 0, 2, 3]


@lru_cache(maxsize=1)
def load() -> bool:
    """Build the kernels, once a machine, and register their three operators.

    Returns:
        Whether they are there; if they cannot be built that is said once, and torch's own convolutions are used.
    """
    shapes: dict[str, Callable[..., Tensor]] = {
        "convolution": _forward,
        "convolution_input": _input,
        "convolution_weight": _weight,
    }
    return build("convolutions", SOURCES, shapes)


def _empty(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, *window: int) -> Tensor:
    sizes = zip(x.shape[2:], weight.shape[2:], window[:2], window[2:], strict=True)
    return _empty(x, x.shape[0], weight.shape[0], *((size + 2 * p - taps) // s + 1 for size, taps, s, p in sizes))


def _input(gradient: Tensor, weight: Tensor, height: int, width: int, *window: int) -> Tensor:
    return _empty(gradient, gradient.shape[0], weight.shape[1], height, width)


def _weight(gradient: Tensor, x: Tensor, height: int, width: int, *window: int) -> Tensor:
    return _empty(gradient, gradient.shape[1], x.shape[1], height, width)


class Convolutions(CustomGraphPass):
    """Puts the kernels in place of convolutions of a compiled graph, and of their gradients to any order.

    The second derivative of a convolution has the gradient of its weight as a convolution of images with their channels
    and their number exchanged, and a kernel as large as an image: it is known by that layout.
    """

    def __call__(self, graph: Graph) -> None:
        """Change the graph where it stands."""
        for node in graph.find_nodes(op="call_function", target=CONVOLUTION):
            _replace_forward(graph, node)
        for node in graph.find_nodes(op="call_function", target=BACKWARD):
            _replace_backward(graph, node)

    def uuid(self) -> Any:
        """What compiled code depends on, for torch's cache."""
        return get_hash_for_files((__file__, *map(str, SOURCES)))


def _replace_forward(graph: Graph, node: Node) -> None:
    (x, weight), rest = _apart(node, 2)
    bias, *window, transposed, _, groups = rest
    if groups != 1 or node.meta["val"].dim() != 4:
        return
    stride, pad, dilation = map(_pair, window)
    own = torch.ops.metaft
    with graph.inserting_before(node):
        if _exchanged(x) and _exchanged(weight) and stride == [1, 1] and not transposed and bias is None:
            images, gradient = _turned(graph, x), _turned(graph, weight)
            size = [_read(node, axis) for axis in (2, 3)]
            if _suit(images, gradient) and (_wide(images) or _wide(gradient)):
                found = _call(graph, own.convolution_weight.default, gradient, images, *size, *dilation, *pad)
                _put(graph, node, _turned(graph, found))
        elif dilation == [1, 1] and _suit(x, weight, node) and _depth(weight, 0 if transposed else 1) <= DEEPEST:
            if transposed and bias is None and _wide(node):
                size = list(node.meta["val"].shape[2:])
                _put(graph, node, _call(graph, own.convolution_input.default, x, weight, *size, *stride, *pad))
            elif not transposed and _wide(node):
                _put(graph, node, _call(graph, own.convolution.default, x, weight, bias, *stride, *pad))


def _replace_backward(graph: Graph, node: Node) -> None:
    (gradient, x, weight), rest = _apart(node, 3)
    _, *window, transposed, _, groups, _ = rest
    if groups != 1 or transposed or not _suit(gradient, x, weight):
        return
    stride, pad, dilation = map(_pair, window)
    possible: Any = [_wide(x) and _depth(weight, 0) <= DEEPEST, _wide(x) or _wide(gradient), True]
    parts = list(node.users)
    # All of them or none: the library computes together what is asked of it.
    if dilation != [1, 1] or not all(part.target is operator.getitem and possible[part.args[1]] for part in parts):
        return
    own = torch.ops.metaft
    for part in parts:
        with graph.inserting_before(part):
            if part.args[1] == 0:
                size = list(x.meta["val"].shape[2:])
                _put(graph, part, _call(graph, own.convolution_input.default, gradient, weight, *size, *stride, *pad))
            elif part.args[1] == 1:
                size = list(weight.meta["val"].shape[2:])
                _put(graph, part, _call(graph, own.convolution_weight.default, gradient, x, *size, *stride, *pad))
            else:
                _put(graph, part, _call(graph, torch.ops.aten.sum.dim_IntList, gradient, [0, 2, 3]))
    graph.erase_node(node)


def _apart(node: Node, tensors: int) -> tuple[list[Any], tuple[Any, ...]]:
    """The tensors that a node is computed from, and what else."""
    return list(node.args[:tensors]), node.args[tensors:]


def _pair(values: Any) -> list[int]:
    """What holds for both axes of space; one number may stand for both."""
    return list(values) * (2 // len(values))


def _depth(weight: Node, axis: int) -> int:
    """How many products are added up for one number."""
    taps: int = weight.meta["val"].shape[2:].numel()
    return taps * int(weight.meta["val"].shape[axis])


def _suit(*nodes: Node) -> bool:
    """Whether tensors are images or weights that the kernels take: on a CPU, channels last, not large."""
    return all(
        value.device.type == "cpu"
        and value.dtype in (torch.float32, torch.float64)
        and all(isinstance(size, int) for size in value.shape)
        and value.is_contiguous(memory_format=torch.channels_last)  # of two axes of space alone
        and 0 < value.numel() <= MOST
        for value in (node.meta["val"] for node in nodes)
    )


def _wide(node: Node) -> bool:
    return node.meta["val"].shape[1] % LANES == 0


def _exchanged(node: Node) -> bool:
    """Whether a node is images with their channels and their number exchanged."""
    return node.target is PERMUTE and node.args[1] == TURNED


def _turned(graph: Graph, node: Node) -> Node:
    """A node with its first two axes exchanged."""
    if _exchanged(node):
        return node.args[0]  # type: ignore[return-value]
    return _call(graph, PERMUTE, node, TURNED)


def _read(node: Node, axis: int) -> int:
    """How much of a result is read along an axis of space: torch computes one tap too many and cuts it off."""
    whole, most = node.meta["val"].shape[axis], 0
    for user in node.users:
        along, start, end, step = _slice(user)
        sliced = step == 1
        if _exchanged(user) or (sliced and along % 4 != axis):
            most = max(most, _read(user, axis))
        elif sliced and start in (0, None) and isinstance(end, int) and end >= 0:
            most = max(most, min(whole, end))
        else:
            return whole
    return most


def _slice(node: Node) -> list[Any]:
    """Axis, start, end and step of a slice; no step if it is none."""
    given = node.args[1:] if node.target is SLICE else (None, None, None, None)
    return [*given, *[0, None, None, 1][len(given) :]]


def _call(graph: Graph, target: Callable[..., Any], *args: Any) -> Node:
    node = graph.call_function(target, args)
    values = tuple(arg.meta["val"] if isinstance(arg, Node) else arg for arg in args)
    node.meta["val"] = target(*values)
    node.meta["eager_input_vals"] = values, {}  # so that what is given keeps its layout
    return node


def _put(graph: Graph, node: Node, by: Node) -> None:
    """Put one node in place of another; what looks at a part of it looks at a smaller one."""
    node.replace_all_uses_with(by)
    graph.erase_node(node)
    looking = [by]
    for seen in looking:
        for user in seen.users:
            if user.target in (PERMUTE, SLICE):
                values = [arg.meta["val"] if isinstance(arg, Node) else arg for arg in user.args]
                user.meta["val"] = user.target(*values)
                looking.append(user)
