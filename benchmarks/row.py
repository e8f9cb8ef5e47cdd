"""A row of the table: a kind of work, who does it, and what must hold before it is timed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from benchmarks.agree import TOLERANCE, difference, second_order_share
from benchmarks.arithmetic import meta_gradient_flop
from benchmarks.clock import Entrant
from benchmarks.entrants import OURS, PEERS
from benchmarks.plain import plain
from benchmarks.problem import Compute, Params, Problem
from metaft.errors import MetaftError

Made = TypeVar("Made")


@dataclass(frozen=True)
class Prepared:
    """A row ready to be timed.

    Args:
        entrants: who is timed.
        missing: who is not, and why.
        agreement: relative error of each one's float64 meta-gradient against the plain loop.
        first_order_error: what that error would be for a first-order gradient.
        flop: the least arithmetic of one unit, None where it is not arithmetic that counts.
    """

    entrants: dict[str, Entrant]
    missing: dict[str, str] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    first_order_error: float | None = None
    flop: float | None = None


@dataclass(frozen=True)
class Row:
    """A kind of work.

    Args:
        title: in a few words, for the table.
        unit: what the time is for: "meta-gradient", "iteration" or "task".
        prepare: ``prepare(quick)`` sets the work up; quick is for trying it out.
        rivals: the entrants of which metaft is to beat the fastest.
        target: by which ratio; None where there is no such target.
        rate: which of the machine's rates limits it: "convolution" or "product".
        target_per_second: units a second to reach, where that is the target.
    """

    title: str
    unit: str
    prepare: Callable[[bool], Prepared]
    rivals: tuple[str, ...] = tuple(PEERS)
    target: float | None = None
    rate: str = "convolution"
    target_per_second: float | None = None


def attempt(make: Callable[[], Made]) -> Made | str:
    """Do something with a peer.

    Args:
        make: what to do.

    Returns:
        What it gave, or in one line why it failed: a peer's trouble is a cell of the table, not the end of the run.
    """
    try:
        return make()
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[0]}"


def _gradient(maker: Callable[[Problem], Compute], problem: Problem) -> Params:
    return maker(problem)()


def check(
    entrants: Mapping[str, Callable[[Problem], Compute]], problem: Problem
) -> tuple[dict[str, float], dict[str, str], float]:
    """Let everyone compute a small float64 case, and compare with the plain loop.

    Args:
        entrants: makers of the computations, by name.
        problem: the row's problem; a small copy is computed.

    Returns:
        Relative errors; why someone is left out (it failed, or computes something else); the error that a
        first-order gradient would have.

    Raises:
        MetaftError: if metaft itself computes something else.
    """
    small = problem.small()
    expected = plain(small)
    errors, missing = {}, {}
    for name, maker in entrants.items():
        compute = partial(_gradient, maker, small)
        found = compute() if name in OURS else attempt(compute)
        gc.collect()  # some peers leave their graphs, gigabytes of a large network, in cycles
        if isinstance(found, str):
            missing[name] = found
            print(f"    {name} is left out: {found}", flush=True)
            continue
        errors[name] = difference(found, expected)
        print(f"    {name}: meta-gradient agrees to {errors[name]:.1e} (float64)", flush=True)
        if not errors[name] < TOLERANCE:
            missing[name] = f"computes another gradient (relative error {errors[name]:.1g})"
    wrong = [name for name in OURS if name in missing]
    if wrong:
        raise MetaftError(f"{wrong[0]} {missing[wrong[0]]}: nothing is timed")
    return errors, missing, second_order_share(small, expected)


def gradient_row(
    problem: Callable[[], Problem], others: Mapping[str, Callable[[Problem], Compute]] | None = None
) -> Callable[[bool], Prepared]:
    """Set up a row whose unit is one exact meta-gradient.

    Args:
        problem: makes the problem.
        others: entrants beside metaft and the usual peers.

    Returns:
        The row's ``prepare``.
    """

    def prepare(quick: bool) -> Prepared:
        makers = {**OURS, **PEERS, **(others or {})}
        full = problem()
        errors, missing, first_order_error = check(makers, full)
        entrants = {
            name: Entrant(maker(full), threads=1 if name in OURS else None)
            for name, maker in makers.items()
            if name not in missing
        }
        return Prepared(entrants, missing, errors, first_order_error, meta_gradient_flop(full))

    return prepare
