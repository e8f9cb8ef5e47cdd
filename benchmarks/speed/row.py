"""A row of the table: a kind of work, who does it, and what must hold before it is timed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks.peers.entrants import OURS, PEERS, Maker
from benchmarks.speed.agree import TOLERANCE, difference, second_order_share
from benchmarks.speed.arithmetic import meta_gradient_flop
from benchmarks.speed.clock import Entrant
from benchmarks.speed.problem import Problem
from benchmarks.speed.reference import plain
from metaft.errors import MetaftError

Made = TypeVar("Made")
US = "metaft"


@dataclass(frozen=True)
class Prepared:
    """One entrant of a row, ready to be timed.

    Args:
        entrant: who is timed; None if it cannot be.
        missing: why not.
        agreement: relative error of its float64 meta-gradient against the plain loop's, where that was compared.
        first_order_error: what that error would be for a gradient of the other order: first-order, if it is exact.
        flop: the least arithmetic of one unit, None where it is not arithmetic that counts.
    """

    entrant: Entrant | None
    missing: str | None = None
    agreement: float | None = None
    first_order_error: float | None = None
    flop: float | None = None


@dataclass(frozen=True)
class Row:
    """A kind of work.

    Args:
        title: in a few words, for the table.
        unit: what the time is for: "meta-gradient", "iteration" or "task".
        names: the entrants, metaft first.
        prepare: ``prepare(name, quick)`` sets the work up for one of them; quick is for trying it out.
        rivals: the entrants of which metaft is to beat the fastest.
        target: by which ratio; None where there is no such target.
        rate: which of the machine's rates limits it: "convolution" or "product".
        target_per_second: units a second to reach, where that is the target.
        first_order: whether it is the first-order gradient that is computed.
    """

    title: str
    unit: str
    names: tuple[str, ...]
    prepare: Callable[[str, bool], Prepared]
    rivals: tuple[str, ...] = tuple(PEERS)
    target: float | None = None
    rate: str = "convolution"
    target_per_second: float | None = None
    first_order: bool = False


GRADIENTS: dict[str, Maker] = {**OURS, **PEERS}


def attempt(make: Callable[[], Made]) -> Made | str:
    """Do something with a peer.

    Args:
        make: what to do.

    Returns:
        What it gave, or in one line why it failed: a peer's trouble is a cell of the table, not the end of the run.
    """
    try:
        return make()
    except MetaftError as error:
        return error.message
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[0]}"


def check(name: str, maker: Maker, problem: Problem) -> tuple[float | None, str | None]:
    """Let an entrant compute a small float64 case, and compare with the plain loop.

    Args:
        name: of the entrant.
        maker: of its computation.
        problem: the row's problem; a small copy is computed.

    Returns:
        The relative error, None if it failed; and why it is left out, None if it is not.

    Raises:
        MetaftError: if metaft itself computes something else.
    """
    small = problem.small()
    compute = lambda: maker(small)()
    found = compute() if name in OURS else attempt(compute)
    if isinstance(found, str):
        return None, found
    error = difference(found, plain(small))
    if error < TOLERANCE:
        return error, None
    why = f"computes another gradient (relative error {error:.1g})"
    if name in OURS:
        raise MetaftError(f"{name} {why}: nothing is timed")
    return error, why


def gradient_row(
    title: str, problem: Callable[[], Problem], others: Mapping[str, Maker] | None = None,
    names: tuple[str, ...] = tuple(GRADIENTS), **more: Any,
) -> Row:  # fmt: skip
    """A row whose unit is one meta-gradient.

    Args:
        title: in a few words, for the table.
        problem: makes the problem.
        others: entrants beside ``names``.
        names: entrants among metaft and the usual peers.
        more: further arguments of `Row`.

    Returns:
        The row.
    """
    makers = {**GRADIENTS, **(others or {})}

    def prepare(name: str, quick: bool) -> Prepared:
        full, maker = problem(), makers[name]
        error, missing = check(name, maker, full)
        gc.collect()  # some peers leave their graphs, gigabytes of a large network, in cycles
        made = attempt(lambda: maker(full)) if missing is None else missing
        if isinstance(made, str):
            return Prepared(None, made, error)
        entrant = Entrant(made, threads=1 if name in OURS else None)
        if name != US:
            return Prepared(entrant, None, error)
        small = full.small()
        return Prepared(entrant, None, error, second_order_share(small, plain(small)), meta_gradient_flop(full))

    return Row(title, "meta-gradient", (*names, *(others or {})), prepare, **more)
