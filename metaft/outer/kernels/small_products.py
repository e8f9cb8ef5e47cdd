"""Products of small matrices in compiled code: a kernel of our own in place of a library's."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

from metaft.outer.kernels.build import build

SOURCE = Path(__file__).with_suffix(".cpp")
MOST_OF_BATCH, MOST_ALONE = 2**17, 2**20
"""Multiplications in one product of two matrices, of a batch of them and alone, beyond which a library's is used: of a
batch it is as quick then, alone it has threads."""
DEEPEST = 2**12
"""Numbers that are added one after another in float32 at most; a library adds blocks of them."""


@lru_cache(maxsize=1)
def load() -> bool:
    """Build the kernel, once a machine (torch keeps it in its cache folder), and register its two operators.

    Returns:
        Whether it is there; if it cannot be built that is said once, and torch's own products are used.
    """
    return build("small products", [SOURCE], {"small_bmm": _shape, "small_mm": _shape})


def _shape(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(*a.shape[:-1], b.shape[-1])


class SmallProducts(CustomGraphPass):
    """Puts the kernel in place of every small ``bmm`` and ``mm`` of a compiled graph."""

    def __call__(self, graph: Graph) -> None:
        """Change the graph where it stands."""
        for library, own, most in (
            (torch.ops.aten.bmm.default, torch.ops.metaft.small_bmm.default, MOST_OF_BATCH),
            (torch.ops.aten.mm.default, torch.ops.metaft.small_mm.default, MOST_ALONE),
        ):
            for node in graph.find_nodes(op="call_function", target=library):
                if _is_small(node, most):
                    node.target = own

    def uuid(self) -> Any:
        """What compiled code depends on, for torch's cache."""
        return get_hash_for_files((__file__, str(SOURCE)))


def _is_small(node: Node, most: int) -> bool:
    a, b = (arg.meta["val"] for arg in node.args if isinstance(arg, Node))
    shape = (*a.shape, b.shape[-1])
    known = all(isinstance(size, int) for size in shape)
    return (
        known
        and a.device.type == "cpu"
        and a.dtype in (torch.float32, torch.float64)
        and min(shape) > 1  # torch writes products with vectors out, and fuses them
        and math.prod(shape[-3:]) <= most
        and shape[-2] <= DEEPEST
    )
