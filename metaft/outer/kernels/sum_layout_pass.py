"""Sums over tasks in compiled code: computed as their operand lies in memory, not as its transpose does."""

from __future__ import annotations

from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

SUM, PERMUTE = torch.ops.aten.sum.dim_IntList, torch.ops.aten.permute.default


class SumsAsTheyLie(CustomGraphPass):
    """Puts the transpose of a sum in place of every sum of a transpose.

    The gradient of a linear layer's weight is a product, transposed. The compiler sums it over tasks number by number
    of the transposed result: each is read from far apart, and no two at once.
    """

    def __call__(self, graph: Graph) -> None:
        """Change the graph where it stands."""
        for node in graph.find_nodes(op="call_function", target=SUM):
            moved, summed = node.args[:2]  # over all axes, where none is named
            if isinstance(moved, Node) and moved.target is PERMUTE and summed and not node.kwargs:
                _turn(graph, node, *moved.args, *node.args[1:])  # type: ignore[arg-type]

    def uuid(self) -> Any:
        """What compiled code depends on, for torch's cache."""
        return get_hash_for_files((__file__,))


def _turn(
    graph: Graph, node: Node, source: Node, order: list[int], summed: list[int], keeps_axes: bool = False
) -> None:
    """Sum ``source`` and then move its axes, in place of a sum over axes moved to ``order``."""
    axes = len(order)
    gone = [order[axis] % axes for axis in summed]
    left = list(range(axes)) if keeps_axes else [axis for axis in range(axes) if axis not in gone]
    back = [left.index(axis % axes) for axis in order if axis % axes in left]
    with graph.inserting_before(node):
        total = graph.call_function(SUM, (source, gone, keeps_axes))
        total.meta["val"] = source.meta["val"].sum(gone, keeps_axes)
        turned = graph.call_function(PERMUTE, (total, back))
        turned.meta.update(node.meta)
    node.replace_all_uses_with(turned)
    graph.erase_node(node)
