"""A network's blocks, told from the names of its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable


def blocks(names: Iterable[str]) -> list[str]:
    """The network's blocks in order; the last is its head.

    Args:
        names: parameter names.

    Returns:
        A prefix a block, see ``grouped``.
    """
    return list(grouped(names))


def grouped(names: Iterable[str]) -> dict[str, list[str]]:
    """Parameter names by block.

    Args:
        names: parameter names of a whole network.

    Returns:
        Block → names. A block is a name up to its first number (``features.2``), or its first word (``head``); where
        that is one and the same for all (``net.first.weight``, ``net.second.weight``), it is looked for behind it.
    """
    listed, before = list(names), ""
    while True:
        found: dict[str, list[str]] = {}
        for name in listed:
            found.setdefault(before + block_of(name[len(before) :]), []).append(name)
        deeper = f"{next(iter(found), '')}."
        if len(found) != 1 or not all("." in name.removeprefix(deeper) for name in listed):
            return found
        before = deeper


def block_of(name: str) -> str:
    """The block that a parameter belongs to.

    Args:
        name: the parameter's.

    Returns:
        The block's prefix.
    """
    match = re.match(r"(.*?\b\d+)\.", name)
    return match.group(1) if match else name.split(".")[0]
