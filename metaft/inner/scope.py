"""Scopes: which parameters, chosen by role or by name pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor

from metaft.errors import MetaftError, nearest
from metaft.inner.rules.rule import LEARNED
from metaft.models.blocks import block_of, blocks

SCOPE_HEADS = ("parameter", "shape", "inner loop", "outer loop")
ROLES = ("all", "head", "body", "biases", "weights", "first:K", "last:K", "rates", "none")


def select(names: Iterable[str], scope: str) -> tuple[str, ...]:
    """Choose parameters by name.

    Args:
        names: all parameter names, in the network's order; names of learned rates begin with ``rule:``.
        scope: a role, a pattern, or several joined by commas. Roles: ``all``, ``head`` (the last block), ``body``
            (all blocks but the last), ``biases``, ``weights``, ``first:K`` and ``last:K`` (so many blocks, the head
            being the last), ``rates`` (what the rule learns), ``none``. Anything else is a pattern over names with
            ``*`` and ``?``. Roles but ``rates`` speak of the network alone; a leading ``!`` takes names away.

    Returns:
        The chosen names, in the order given.

    Raises:
        MetaftError: if a part of the scope matches nothing.
    """
    known = list(names)
    chosen: set[str] = set()
    for part in (p.strip() for p in scope.split(",")):
        taken = _part(known, part.removeprefix("!"))
        chosen = chosen - taken if part.startswith("!") else chosen | taken
    return tuple(name for name in known if name in chosen)


def table(params: Mapping[str, Tensor], adapts: Sequence[str], trains: Sequence[str]) -> list[list[str]]:
    """What adapts and what is meta-trained, a row a parameter.

    Args:
        params: all meta-parameters.
        adapts: names that the inner loop moves.
        trains: names that the outer loop moves.

    Returns:
        Rows of name, shape, "adapts" or "–", "meta-trained" or "–".
    """
    return [
        [
            name,
            "×".join(map(str, value.shape)) or "1",
            "adapts" if name in adapts else "–",
            "meta-trained" if name in trains else "–",
        ]
        for name, value in params.items()
    ]


def _part(names: list[str], part: str) -> set[str]:
    own = [name for name in names if not name.startswith(LEARNED)]
    order = blocks(own)
    counted = re.fullmatch(r"(first|last):(\d+)", part)
    if part == "none":
        return set()
    if counted:
        count = int(counted.group(2))
        if not 1 <= count <= len(order):
            raise MetaftError(f"scope {part!r}: this network has {len(order)} blocks ({', '.join(order)})")
        kept = order[:count] if counted.group(1) == "first" else order[-count:]
        taken = {name for name in own if block_of(name) in kept}
    elif part == "all":
        taken = set(own)
    elif part in ("head", "body"):
        taken = {name for name in own if (block_of(name) == order[-1]) == (part == "head")} if order else set()
    elif part in ("biases", "weights"):
        taken = {name for name in own if name.endswith("bias") == (part == "biases")}
    elif part == "rates":
        taken = set(names) - set(own)
    else:
        taken = {name for name in names if fnmatchcase(name, part)}
    if not taken:
        raise MetaftError(f"scope {part!r} matches no parameter{nearest(part, [*ROLES, *names])}")
    return taken
