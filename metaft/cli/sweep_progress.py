"""What a sweep shows while it runs: a live line on a terminal, a line a member elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from metaft.commands.sweep.processes import Job, Watch, last_line
from metaft.training.live_line import LiveLine


class SweepProgress(Watch):
    """A watch for ``run_jobs``.

    Args:
        shown: False for silence.
    """

    def __init__(self, shown: bool) -> None:
        self._line = LiveLine(shown)
        self._done, self._failed, self._total, self._due = 0, 0, 0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._line.close()

    def begin(self, done: int, total: int) -> None:
        """Say how many members there are, and how many have been done before."""
        self._done, self._total = done, total

    def started(self, job: Job) -> None:
        """Say that a member runs."""
        self._line.say(f"{job.name}: started")

    def ended(self, job: Job, code: int) -> None:
        """Say how a member ended."""
        stopped = code in (130, 143)
        self._done, self._failed = self._done + (code == 0), self._failed + (code != 0 and not stopped)
        end = "stopped, saved" if stopped else f"ended with code {code}: {last_line(job.log)}"
        end = "finished" if code == 0 else end
        self._line.say(f"{job.name}: {end} ({self._done} of {self._total})")

    def look(self, running: Iterable[Job]) -> None:
        """Refresh the live line twice a second."""
        now = time.perf_counter()
        if self._line.live and now >= self._due:
            self._due = now + 0.5
            failed = f", {self._failed} failed" if self._failed else ""
            current = "; ".join(f"{job.name} {last_line(job.log)[:50]}" for job in running)
            text = f"{self._done} of {self._total} members{failed}  {current}"
            self._line.show(text, self._done / max(self._total, 1))
