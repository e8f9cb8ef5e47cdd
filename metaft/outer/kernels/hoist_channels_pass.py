"""Numbers of a channel in compiled code: computed once, not again for every value that they scale."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch._inductor.inductor_prims import force_stride_order
from torch.fx import Graph, Node

LARGE, RATIO = 2**14, 16
"""Values of a result from which on it pays, and how many times as many as its operand has."""
_VIEWS = {
    operator.getitem,  # of what was taken apart
    torch.ops.aten.alias.default,
    torch.ops.aten.expand.default,
    torch.ops.aten.permute.default,
    torch.ops.aten.reshape.default,
    torch.ops.aten.slice.Tensor,
    torch.ops.aten.squeeze.dims,
    torch.ops.aten.unbind.int,
    torch.ops.aten.unsqueeze.default,
    torch.ops.aten.view.default,
}


class ComputedOnce(CustomGraphPass):
    """Stores every small tensor that a large one is computed from, and every large one that is taken apart.

    The compiler writes elementwise operations into the loops of whoever uses them. Batch norm's mean and its
    weight · rsqrt(variance + ε), 64 numbers, are so computed again for each of millions of values, and a division or a
    root takes longer than all the rest. Of max-pooling it would store not the input but the truth values of the
    comparisons, which are slow to write and to read.
    """

    def __call__(self, graph: Graph) -> None:
        """Change the graph where it stands."""
        for node in graph.find_nodes(op="call_function", target=torch.ops.aten.unbind.int):
            whole = _origin(node.args[0])
            if _size(whole) >= LARGE and whole.target is not force_stride_order:
                _store(graph, whole, list(whole.users))
        for node in list(graph.nodes):
            small = _size(node) if node.all_input_nodes else 0  # constants are written into the loops
            large = [user for user in node.users if _size(user) >= max(LARGE, RATIO * small)] if small else []
            if large and _origin(node).op == "call_function":  # else it looks at an argument in another shape
                _store(graph, node, large)

    def uuid(self) -> Any:
        """What compiled code depends on, for torch's cache."""
        return get_hash_for_files((__file__,))


def _size(node: Node) -> int:
    """How many values a node gives; 0 if it is no tensor of floating point numbers of known shape."""
    value = node.meta.get("val")
    if node.op != "call_function" or not isinstance(value, Tensor) or not value.is_floating_point():
        return 0
    return value.numel() if all(isinstance(size, int) for size in value.shape) else 0


def _origin(node: Node) -> Node:
    """What a node looks at in another shape; itself if it computes something."""
    while node.op == "call_function" and node.target in _VIEWS:
        node = node.args[0]  # type: ignore[assignment]
    return node


def _store(graph: Graph, node: Node, users: list[Node]) -> None:
    """Give users of a node a tensor in memory."""
    value = node.meta["val"]
    with graph.inserting_after(node):
        stored = graph.call_function(force_stride_order, (node, value.stride()))
    stored.meta["val"] = value
    for user in users:
        user.replace_input_with(node, stored)
