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
        Block → names. A block is a name up to its first number (``features.2``), or its first word (``head``); what
        stands beside numbered blocks in one module is a block too (``model.norm`` beside ``model.layers.2``). Where it
        is one and the same for all (``net.first.weight``, ``net.second.weight``), it is looked for behind it.
    """
    listed, before = list(names), ""
    while True:
        found: dict[str, list[str]] = {}
        holders = {before + holder for name in listed for holder in _holders(name[len(before) :])}
        for name in listed:
            block = before + block_of(name[len(before) :])
            while block in holders and name[len(block) + 1 :].count("."):
                block += "." + name[len(block) + 1 :].split(".")[0]
            found.setdefault(block, []).append(name)
        deeper = f"{next(iter(found), '')}."
        if len(found) != 1 or not all("." in name.removeprefix(deeper) for name in listed):
            return found
        before = deeper


def _holders(name: str) -> list[str]:
    """The modules that a numbered block stands in: ``model`` and ``model.layers`` of ``model.layers.2.weight``."""
    match = re.match(r"(.*?\b\d+)\.", name)
    path = match.group(1).split(".")[:-1] if match else []
    return [".".join(path[:depth]) for depth in range(1, len(path) + 1)]


def block_of(name: str) -> str:
    """The block that a parameter belongs to.

    Args:
        name: the parameter's.

    Returns:
        The block's prefix.
    """
    match = re.match(r"(.*?\b\d+)\.", name)
    return match.group(1) if match else name.split(".")[0]
