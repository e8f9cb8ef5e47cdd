"""The passes over a graph that is compiled for a CPU, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.fx import Graph

from metaft.outer.kernels import convolutions, small_products
from metaft.outer.kernels import hoist_channels_pass as once
from metaft.outer.kernels import sum_layout_pass as sums


class InTurn(CustomGraphPass):
    """Several passes over a compiled graph as one.

    Args:
        passes: in their order.
    """

    def __init__(self, passes: Sequence[CustomGraphPass]) -> None:
        self.passes = passes

    def __call__(self, graph: Graph) -> None:
        """Change the graph where it stands."""
        for one in self.passes:
            one(graph)

    def uuid(self) -> Any:
        """What compiled code depends on, for torch's cache; None, so that nothing is kept, if one pass cannot say."""
        known = [one.uuid() for one in self.passes]
        return None if None in known else "/".join(map(str, known))


def passes() -> InTurn:
    """All of them, but those whose kernels cannot be built here."""
    found: list[CustomGraphPass] = [sums.SumsAsTheyLie()]
    if convolutions.load():
        found.append(convolutions.Convolutions())
    found.append(once.ComputedOnce())
    if small_products.load():
        found.append(small_products.SmallProducts())
    return InTurn(found)
