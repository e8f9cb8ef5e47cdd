"""Progress of a run on the terminal: a live line, or a plain one now and then in a log file."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

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
        self._console = console or Console(stderr=True)
        self._shown, self._live = shown, shown and self._console.is_terminal
        self._tasks, self._metric, self._validation = tasks, metric, "–"
        self._counted = counted
        self._first, self._done, self._loss = iteration, done, 0.0
        self._start: float | None = None
        self._due = time.perf_counter() + (LIVE_EVERY if self._live else PLAIN_EVERY) if shown else float("inf")
        self._bar = Progress(
            BarColumn(24),
            TextColumn("{task.percentage:3.0f}% {task.description}"),
            console=self._console,
            auto_refresh=False,
            disable=not self._live,
        )
        self._row = self._bar.add_task("", total=1.0)
        self._bar.update(self._row, completed=done)
        self._bar.start()

    def preparing(self, what: str) -> None:
        """Say what happens before the first iteration is done.

        Args:
            what: such as "compiling".
        """
        if self._live:
            self._bar.update(self._row, description=f"{what} …")
            self._bar.refresh()
        else:
            self.say(f"{what} …")

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
            self._due = now + (LIVE_EVERY if self._live else PLAIN_EVERY)
            self._show(iteration, done, now)

    def validated(self, metric: float, ci95: float) -> None:
        """Remember the latest validation score."""
        scale, unit = (100, "%") if self._metric == "accuracy" else (1, "")
        self._validation = f"{scale * metric:.3g} ± {scale * ci95:.2g}{unit}"

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._shown:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()

    def _show(self, iteration: int, done: float, now: float) -> None:
        line = f"iteration {iteration}  loss {self._loss:.4f}  validation {self._metric} {self._validation}"
        if self._start is not None and iteration > self._first:
            seconds, gained = now - self._start, done - self._done
            speed = (iteration - self._first) * self._tasks / seconds
            left = (1 - done) * seconds / gained if gained > 0 else None
            line += f"  {speed:,.0f} {self._counted}/s  {_clock(left)} left"
        if self._live:
            self._bar.update(self._row, completed=done, description=line)
            self._bar.refresh()
        else:
            self.say(f"{100 * done:3.0f}% {line}")


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
