"""Scopes: which parameters, chosen by role or by name pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from metaft.errors import MetaftError, nearest
from metaft.inner.rules.rule import LEARNED
from metaft.models.anatomy import Anatomy, anatomy
from metaft.models.blocks import grouped
from metaft.models.roles import ROLES as OF_LAYERS
from metaft.models.roles import TOGETHER
from metaft.tables import ADDITIONS

SCOPE_HEADS = ("parameter", "shape", "inner loop", "outer loop")
ROLES = ("all", "head", "body", "biases", "weights", *OF_LAYERS, "first:K", "last:K", "rates", "none")


_COUNTED = re.compile(r"(first|last):(\d+)")
_ADDITIVE = re.compile(r"(^|_)bias(_|$)")
HEAD_WORDS = frozenset({"head", "classifier", "fc", "logits", "output", "readout"})


def select(names: Iterable[str], scope: str, network: Anatomy | None = None) -> tuple[str, ...]:
    """Choose parameters by what they are, or by name.

    Args:
        names: all parameter names, in the network's order; names of learned rates begin with ``rule:``.
        scope: a role, a pattern, or several joined by commas. Roles: ``all``, ``head`` (the layer that answers),
            ``body`` (all but the head), ``biases`` (every additive term of a layer, a recurrent layer's or
            attention's too), ``weights`` (all others), ``embedding``, ``attention``, of that ``query``, ``key``,
            ``value`` and ``output``, ``feed-forward``, ``norms``, ``first:K`` and ``last:K`` (so many blocks in the
            order in which they run, a transformer's embedding being the first and the head the last), ``rates`` (what
            the rule learns), ``none``, and the name of an addition (see ``metaft.additions``), which is what of it
            belongs to a task. Anything else is a pattern over names with ``*`` and ``?``. Roles but ``rates`` speak of
            the network alone; a leading ``!`` takes names away.
        network: what its forward pass shows. Without it blocks are read from the names, in their order, and the head
            is the last; names that speak against that are refused.

    Returns:
        The chosen names, in the order given.

    Raises:
        MetaftError: if a part of the scope matches nothing, or it is not clear which layer is the head.
    """
    known = list(names)
    chosen: set[str] = set()
    for part in (p.strip() for p in scope.split(",")):
        taken = _part(known, part.removeprefix("!"), network)
        chosen = chosen - taken if part.startswith("!") else chosen | taken
    return tuple(name for name in known if name in chosen)


def spelled_out(scope: str, model: nn.Module) -> str:
    """A scope in which the roles that a forward pass decides are spelled out as names.

    Args:
        scope: as for ``select``.
        model: the network; it is run once if the scope has such a role, and not otherwise.

    Returns:
        A scope that chooses the same, read with names alone.

    Raises:
        MetaftError: as ``select``.
    """
    parts = []
    for part in (p.strip() for p in scope.split(",")):
        role = part.removeprefix("!")
        if role not in ("head", "body", *OF_LAYERS) and not _COUNTED.fullmatch(role):
            parts.append(part)
            continue
        found = anatomy(model)
        sign = part[: len(part) - len(role)]
        parts += [sign + name.replace("[", "[[]") for name in select(found.names, role, found)]
    return ",".join(parts)


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


def shortened(rows: Sequence[Sequence[str]], most: int = 24) -> list[list[str]]:
    """A table of parameters that one can take in: what is alike in several blocks is one row, and so is what is frozen.

    Args:
        rows: of name, shape, inner loop, outer loop.
        most: rows that are shown as they are.

    Returns:
        The same rows if they are few; else ``blocks.*.attention.query.lora.A ×6`` for six of one shape and use, and
        the frozen ones counted in the last row.
    """
    if len(rows) <= most:
        return [list(row) for row in rows]
    alike: dict[tuple[str, ...], int] = {}
    frozen = 0
    for name, shape, inner, outer in rows:
        frozen += outer == "frozen"
        if outer != "frozen":
            key = (re.sub(r"(?<=\.)\d+(?=\.)", "*", name), shape, inner, outer)
            alike[key] = alike.get(key, 0) + 1
    found = [[name if count == 1 else f"{name} ×{count}", *rest] for (name, *rest), count in alike.items()]
    return [*found, [f"{frozen} others", "", "–", "frozen"]] if frozen else found


def _part(names: list[str], part: str, network: Anatomy | None) -> set[str]:
    own = [name for name in names if not name.startswith(LEARNED)]
    counted = _COUNTED.fullmatch(part)
    if part == "none":
        return set()
    if counted or part in ("head", "body"):
        order: Mapping[str, Sequence[str]] = (
            _blocks_by_name(own) if network is None else _blocks_that_run(network, bool(counted))
        )
        if counted:
            count = int(counted.group(2))
            if not 1 <= count <= len(order):
                raise MetaftError(f"scope {part!r}: this network has {len(order)} blocks ({', '.join(order)})")
            kept = [*order][:count] if counted.group(1) == "first" else [*order][-count:]
        else:
            kept = [*order][-1:] if part == "head" else [*order][:-1]
        taken = {name for block in kept for name in order[block]}
    elif part == "all":
        taken = set(own)
    elif part in ("biases", "weights"):
        taken = {name for name in own if is_bias(name) == (part == "biases")}
    elif part == "rates":
        taken = set(names) - set(own)
    elif part in OF_LAYERS and network is not None:
        taken = _of_layers(network, part) & set(names) or {name for name in names if name == part}
    else:
        taken = {name for name in names if fnmatchcase(name, part)}
        taken = taken or _added(own, part)
    if not taken and part in OF_LAYERS:
        why = "the names of parameters alone do not tell it" if network is None else "no layer of this network has it"
        if network is not None and any(part in roles for roles in network.roles.values()):
            raise MetaftError(
                f"scope {part!r}: those weights are quantised and do not move; an addition beside them can"
            )
        raise MetaftError(f"scope {part!r} is a role of layers, and {why}; name the parameters by a pattern")
    if not taken:
        raise MetaftError(f"scope {part!r} matches no parameter{nearest(part, [*ROLES, *names])}")
    return taken


def _of_layers(network: Anatomy, role: str) -> set[str]:
    """The parameters of a role.

    Raises:
        MetaftError: if some of them are part of a larger one.
    """
    within = [name for name, roles in network.roles.items() if TOGETHER in roles]
    if role in ("query", "key", "value") and within:
        raise MetaftError(
            f"scope {role!r}: {within[0]!r} holds {TOGETHER} in one, and the {role} alone cannot be chosen; take scope "
            "'attention'"
        )
    return {name for name, roles in network.roles.items() if role in roles}


def _added(names: list[str], addition: str) -> set[str]:
    """What of an addition's parameters its name means: those of a task, or all."""
    own = {name: name.split(".") for name in names if addition in name.split(".")[-2:-1]}
    per_task = getattr(ADDITIONS[addition], "per_task", ()) if addition in ADDITIONS else ()
    return {name for name, path in own.items() if not per_task or path[-1] in per_task}


def is_bias(name: str) -> bool:
    """Whether a parameter is an additive term of a layer.

    Every layer of torch.nn calls those so: ``bias``, ``bias_ih_l0``, ``in_proj_bias``, ``bias_k``; a parametrised one
    is called ``parametrizations.bias.original``.

    Args:
        name: the parameter's.
    """
    path = name.split(".")
    parametrised = path.index("parametrizations") + 1 if "parametrizations" in path[:-1] else len(path) - 1
    return bool(_ADDITIVE.search(path[parametrised]))


def _blocks_that_run(network: Anatomy, ordered: bool) -> dict[str, tuple[str, ...]]:
    """Blocks of the network as it runs, the head last; without their order the body is one."""
    if ordered:
        return network.blocks()
    head = network.head_names
    return {"body": tuple(name for name in network.names if name not in head), "head": head}


def _blocks_by_name(names: list[str]) -> dict[str, list[str]]:
    found = grouped(names)
    called = [block for block in found if block.rpartition(".")[2] in HEAD_WORDS]
    last = next(reversed(found), "")
    if called and last not in called:
        raise MetaftError(
            f"which block is the head cannot be told from the names alone: the last is {last!r}, and there is "
            f"{called[0]!r}; name the parameters by a pattern, such as '{called[0]}.*'"
        )
    return found
