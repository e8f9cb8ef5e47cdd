"""Independent programs side by side: so many at once, each with its log, all stopped together."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from metaft.runs.reading import in_use
from metaft.training.stopping import StopRequest

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PAUSE = 0.1
"""Seconds between two looks at the processes."""


@dataclass(frozen=True)
class Job:
    """A Python program.

    Args:
        name: for reports.
        words: its arguments after ``python``.
        log: where its output goes, after what is there already.
        folder: a run directory that must be free of other processes before it starts, or None.
    """

    name: str
    words: tuple[str, ...]
    log: Path
    folder: Path | None = None


class Watch:
    """Who is told what goes on; this one says nothing of it."""

    def begin(self, done: int, total: int) -> None:
        """So many jobs were done before, of so many in all."""

    def started(self, job: Job) -> None:
        """A job runs now."""

    def ended(self, job: Job, code: int) -> None:
        """A job ended; code 0 is success."""

    def look(self, running: Iterable[Job]) -> None:
        """Some time has passed."""


def run_jobs(jobs: Iterable[Job], at_once: int, watch: Watch) -> int:
    """Run programs until all have ended, or SIGINT or SIGTERM asks to stop.

    When asked to stop, those that run are sent SIGTERM and waited for, so that they can write a checkpoint; a second
    Ctrl-C kills them.

    Args:
        jobs: the programs, started in this order.
        at_once: how many may run side by side.
        watch: is told what goes on.

    Returns:
        The signal that asked to stop, or 0.
    """
    waiting, running = list(jobs), dict[Job, subprocess.Popen[bytes]]()
    with StopRequest() as stop:
        told = False
        try:
            while running or (waiting and not stop.signum):
                # A member whose folder an earlier, killed sweep's process is still leaving has to wait.
                free = (job for job in waiting if job.folder is None or not in_use(job.folder))
                for job in list(islice(free, 0 if stop.signum else at_once - len(running))):
                    waiting.remove(job)
                    running[job] = _start(job)
                    watch.started(job)
                for job, process in list(running.items()):
                    if (code := process.poll()) is not None:
                        del running[job]
                        watch.ended(job, code)
                if stop.signum and not told:
                    told = True
                    for process in running.values():
                        process.send_signal(signal.SIGTERM)
                watch.look(running)
                time.sleep(PAUSE)
        finally:
            for process in running.values():
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return stop.signum


def end_with(parent: int) -> None:
    """Be sent SIGTERM when the parent process dies, even by SIGKILL (on Linux; elsewhere nothing happens).

    Args:
        parent: its id.
    """
    if sys.platform == "linux":
        death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(death_signal, signal.SIGTERM)
        if os.getppid() != parent:
            raise SystemExit(128 + signal.SIGTERM)


def last_line(log: Path) -> str:
    """The last line of a log that says anything; empty if there is none.

    Args:
        log: the file.
    """
    try:
        with open(log, "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - 4096, 0))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _start(job: Job) -> subprocess.Popen[bytes]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "ab") as log:
        # A session of its own: the terminal's Ctrl-C reaches this process alone, which then stops them once.
        return subprocess.Popen(
            [sys.executable, *job.words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**ONE_THREAD, **os.environ},
            start_new_session=True,
        )
