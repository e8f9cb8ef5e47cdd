"""Timing several entrants alternately, A B C A B C …, so that a machine that changes its pace is fair to all."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch

FEWEST_ROUNDS, LONGEST = 3, 150.0
WARM_UP = 2.0
"""Seconds: a turn that lasts longer needs no call before it."""


class Timed(Protocol):
    """Who is timed, here or in a process of its own."""

    @property
    def units(self) -> int:
        """How many units of the work (meta-gradients, iterations, tasks) one call does."""

    def warm_up(self) -> None:
        """Call once, untimed: threads wake up and caches fill."""

    def time(self, repeats: int) -> float:
        """Seconds a call, the mean of some calls in a row."""


@dataclass(frozen=True)
class Entrant:
    """One library at one kind of work, in this process.

    Args:
        call: does the work.
        units: how many units of it one call does.
        threads: torch's threads inside an operator; None for torch's default, which is what a user gets.
        seconds: reads the time from what a call returns, where the call keeps its own clock.
    """

    call: Callable[[], Any]
    units: int = 1
    threads: int | None = None
    seconds: Callable[[Any], float] | None = None

    def warm_up(self) -> None:
        """Call once, untimed."""
        with self._threads():
            self.call()
        gc.collect()

    def time(self, repeats: int) -> float:
        """Seconds a call, the mean of some calls in a row; no garbage is left to anybody's next turn."""
        gc.collect()
        try:
            with self._threads():
                return self._mean_of(repeats)
        finally:
            gc.collect()

    def _mean_of(self, repeats: int) -> float:
        if self.seconds is not None:
            return sum(self.seconds(self.call()) for _ in range(repeats)) / repeats
        start = time.perf_counter()
        for _ in range(repeats):
            self.call()
        return (time.perf_counter() - start) / repeats

    @contextmanager
    def _threads(self) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)


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
    entrants: Mapping[str, Timed], rounds: int, turn: float, say: Callable[[str], None] = print,
    failed: Callable[[str, Exception], None] | None = None,
) -> tuple[dict[str, list[float]], dict[str, float]]:  # fmt: skip
    """Time every entrant once a round.

    Args:
        entrants: by name.
        rounds: how many rounds; fewer where one takes so long that all would last beyond ``LONGEST``.
        turn: seconds a turn lasts at least: quick calls are repeated.
        say: told how far it is.
        failed: told of an entrant that fails, which then has no times; without it the error goes on.

    Returns:
        Seconds per unit, a value a round, and the seconds that each entrant's first call took beyond a later one
        (compiling).
    """
    first, repeats, lasts = {}, {}, {}
    left = dict(entrants)

    def attempt(name: str, job: Callable[[Timed], None]) -> None:
        try:
            job(left[name])
        except Exception as error:
            if failed is None:
                raise
            failed(name, error)
            del left[name]

    def begin(name: str, entrant: Timed) -> None:
        beginning, usual = entrant.time(1), entrant.time(1)
        first[name] = max(beginning - usual, 0.0)
        repeats[name] = max(1, math.ceil(turn / max(usual, 1e-6)))
        lasts[name] = usual * repeats[name]
        say(f"    {name}: {usual / entrant.units * 1e3:.3g} ms a unit, first call {beginning:.1f} s")

    def take(name: str, entrant: Timed) -> None:
        if lasts[name] < WARM_UP:
            entrant.warm_up()
        taken[name].append(entrant.time(repeats[name]) / entrant.units)

    for name in entrants:
        attempt(name, partial(begin, name))
    taken: dict[str, list[float]] = {name: [] for name in left}
    length = sum(lasts[name] for name in left)
    for _ in range(max(FEWEST_ROUNDS, min(rounds, int(LONGEST / max(length, 1e-6))))):
        for name in list(left):
            attempt(name, partial(take, name))
    return {name: taken[name] for name in left}, {name: first[name] for name in left}


def ratio(slower: list[float], faster: list[float]) -> Spread:
    """How many times as long one entrant takes as another, from rounds taken side by side.

    Args:
        slower: seconds a round.
        faster: seconds in the same rounds.

    Returns:
        Median and range of the quotients.
    """
    return Spread.of([s / f for s, f in zip(slower, faster, strict=True)])
