"""Progress of a run on the terminal: a live line, or a plain one now and then in a log file."""

from __future__ import annotations

import math
import time

from rich.console import Console

from metaft.training.live_line import LiveLine

LIVE_EVERY, PLAIN_EVERY = 0.25, 10.0
"""Seconds between refreshes on a terminal, and between lines elsewhere."""

WARM_UP = 3
"""Iterations left out of speed and time left: they compile, and fill caches."""


class RunProgress:
    """Shows iteration, loss, validation metric, speed and time left.

    Args:
        iteration: where the run stands at the start.
        done: the fraction of the run behind us then.
        tasks: tasks an iteration.
        metric: name of the validation metric.
        shown: False for silence.
        console: where to write; standard error by default.
        counted: what the tasks are called.
    """

    def __init__(
        self,
        iteration: int,
        done: float,
        tasks: int,
        metric: str,
        shown: bool = True,
        console: Console | None = None,
        counted: str = "tasks",
    ) -> None:
        self._line = LiveLine(shown, done, console)
        self._tasks, self._metric, self._counted, self._validation = tasks, metric, counted, "–"
        self._first, self._done, self._loss = iteration, done, 0.0
        self._start: float | None = None
        self._every = (LIVE_EVERY if self._line.live else PLAIN_EVERY) if shown else math.inf
        self._due = time.perf_counter() + self._every
        self.say, self.close = self._line.say, self._line.close

    def preparing(self, what: str) -> None:
        """Say what happens before the first iteration is done.

        Args:
            what: such as "compiling".
        """
        self._line.show(f"{what} …")

    def update(self, iteration: int, loss: float, done: float, now: float) -> None:
        """Report an iteration; cheap unless it is time to show something.

        Args:
            iteration: meta-updates made.
            loss: their latest query loss.
            done: fraction of the run behind us.
            now: ``time.perf_counter()``.
        """
        # Smoothed, since single batches jump about.
        self._loss = loss if self._loss == 0.0 else 0.98 * self._loss + 0.02 * loss
        if self._start is None and iteration >= self._first + WARM_UP:
            self._first, self._done, self._start = iteration, done, now
        if now >= self._due:
            self._due = now + self._every
            self._show(iteration, done, now)

    def validated(self, metric: float, ci95: float) -> None:
        """Remember the latest validation score."""
        scale, unit = (100, "%") if self._metric == "accuracy" else (1, "")
        self._validation = f"{scale * metric:.3g} ± {scale * ci95:.2g}{unit}"

    def _show(self, iteration: int, done: float, now: float) -> None:
        line = f"iteration {iteration}  loss {self._loss:.4f}  validation {self._metric} {self._validation}"
        if self._start is not None and iteration > self._first:
            seconds, gained = now - self._start, done - self._done
            speed = (iteration - self._first) * self._tasks / seconds
            left = (1 - done) * seconds / gained if gained > 0 else None
            line += f"  {speed:,.0f} {self._counted}/s  {_clock(left)} left"
        self._line.show(line, done)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
