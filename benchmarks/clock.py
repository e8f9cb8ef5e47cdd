"""Timing several entrants alternately, A B C A B C …, so that a machine that changes its pace is fair to all."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

FEWEST_ROUNDS, LONGEST = 3, 150.0
WARM_UP = 2.0
"""Seconds: a turn that lasts longer needs no call before it."""


@dataclass(frozen=True)
class Entrant:
    """One library at one kind of work.

    Args:
        call: does the work.
        units: how many units of it (meta-gradients, iterations, tasks) one call does.
        threads: torch's threads inside an operator; None for torch's default, which is what a user gets.
        seconds: reads the time from what a call returns, where the call keeps its own clock.
    """

    call: Callable[[], Any]
    units: int = 1
    threads: int | None = None
    seconds: Callable[[Any], float] | None = None


@dataclass(frozen=True)
class Spread:
    """A median and the range of what rounds gave."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Summarise."""
        return cls(statistics.median(values), min(values), max(values))


def alternate(
    entrants: Mapping[str, Entrant], rounds: int, turn: float, say: Callable[[str], None] = print
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Time every entrant once a round.

    Args:
        entrants: by name.
        rounds: how many rounds; fewer where one takes so long that all would last beyond ``LONGEST``.
        turn: seconds a turn lasts at least: quick calls are repeated.
        say: told how far it is.

    Returns:
        Seconds per unit, a value a round, and the seconds that each entrant's first call took beyond a later one
        (compiling).
    """
    default = torch.get_num_threads()
    first, repeats, lasts = {}, {}, {}
    try:
        for name, entrant in entrants.items():
            torch.set_num_threads(entrant.threads or default)
            beginning, usual = _seconds(entrant, 1), _seconds(entrant, 1)
            first[name] = max(beginning - usual, 0.0)
            repeats[name] = max(1, math.ceil(turn / max(usual, 1e-6)))
            lasts[name] = usual * repeats[name]
            say(f"    {name}: {usual / entrant.units * 1e3:.3g} ms a unit, first call {beginning:.1f} s")
        taken: dict[str, list[float]] = {name: [] for name in entrants}
        for _ in range(max(FEWEST_ROUNDS, min(rounds, int(LONGEST / max(sum(lasts.values()), 1e-6))))):
            for name, entrant in entrants.items():
                torch.set_num_threads(entrant.threads or default)
                if lasts[name] < WARM_UP:
                    entrant.call()  # threads wake up and caches fill outside of the time taken
                taken[name].append(_seconds(entrant, repeats[name]) / entrant.units)
        return taken, first
    finally:
        torch.set_num_threads(default)


def _seconds(entrant: Entrant, repeats: int) -> float:
    """Seconds a call, the mean of some calls in a row; nobody pays for another's garbage."""
    gc.collect()
    if entrant.seconds is not None:
        return sum(entrant.seconds(entrant.call()) for _ in range(repeats)) / repeats
    start = time.perf_counter()
    for _ in range(repeats):
        entrant.call()
    return (time.perf_counter() - start) / repeats


def ratio(slower: list[float], faster: list[float]) -> Spread:
    """How many times as long one entrant takes as another, from rounds taken side by side.

    Args:
        slower: seconds a round.
        faster: seconds in the same rounds.

    Returns:
        Median and range of the quotients.
    """
    return Spread.of([s / f for s, f in zip(slower, faster, strict=True)])
