"""What a time budget is measured by: the time spent on training, compiling left out."""

from __future__ import annotations

import time
from collections.abc import Callable

from metaft.outer.compiled import seconds_compiling

PAUSES = 8
"""So many stretches that compile are left out: a run whose every batch has another shape must come to an end too."""

FEW = 100
"""A run limited by time that made fewer updates than this says so: it has hardly left its start."""


class Clock:
    """Seconds of a run. They stand still in stretches, from one ``tick`` to the next, in which something is compiled.

    Args:
        seconds: spent by earlier parts of a resumed run.
        now: tells the time, in seconds.
        compiling: tells how long this process has been compiling in all, in seconds.
    """

    def __init__(
        self,
        seconds: float = 0.0,
        now: Callable[[], float] = time.perf_counter,
        compiling: Callable[[], float] = seconds_compiling,
    ) -> None:
        self._now, self._compiling, self._pauses = now, compiling, 0
        self._at, self._ticked, self._compiled = seconds, now(), compiling()

    def __call__(self) -> float:
        """The seconds spent so far."""
        stands = self._pauses < PAUSES and self._compiling() > self._compiled
        return self._at if stands else self._at + self._now() - self._ticked

    def tick(self) -> None:
        """Begin a new stretch."""
        self._at = self()
        if self._compiling() > self._compiled:
            self._pauses += 1
        self._ticked, self._compiled = self._now(), self._compiling()


def few_updates(iteration: int, iterations: int | None, minutes: float | None, counted: str) -> str:
    """What to say of a run that its time budget ended too early.

    Args:
        iteration: updates made.
        iterations: the most that were asked for, or None.
        minutes: the time budget, or None.
        counted: what an update's batch holds: "tasks" or "images".

    Returns:
        A line; empty where nothing is to be said.
    """
    if minutes is None or iteration >= FEW or (iterations is not None and iteration >= iterations):
        return ""
    updates = "1 iteration" if iteration == 1 else f"{iteration} iterations"
    return (
        f"only {updates} in {minutes:g} minutes: these weights are hardly more than their start, and their scores say "
        f"little about the method; give more --minutes, fewer {counted} an iteration, or a smaller network"
    )
