"""A network's blocks, told from the names of its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable


def blocks(names: Iterable[str]) -> list[str]:
    """The network's blocks in order; the last is its head.

    Args:
        names: parameter names.

    Returns:
        A prefix a block: a name up to its first number (``features.2``), or its first word (``head``).
    """
    return list(dict.fromkeys(block_of(name) for name in names))


def block_of(name: str) -> str:
    """The block that a parameter belongs to.

    Args:
        name: the parameter's.

    Returns:
        The block's prefix.
    """
    match = re.match(r"(.*?\b\d+)\.", name)
    return match.group(1) if match else name.split(".")[0]
