"""A live line with tasks done, tasks a second and the time left: on a terminal, and in a notebook."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from metaft.distributed.place import place

Report = Callable[[int, int], object]
EVERY = 0.2
"""Seconds between two lines in a notebook, at least."""


@contextlib.contextmanager
def task_progress(what: str = "tasks") -> Iterator[Callable[[int, int], None]]:
    """A live line that is gone at the end; nothing where nobody watches.

    Args:
        what: is done, in the plural.

    Yields:
        To be called with tasks done and tasks in all.
    """
    line = _in_notebook if is_notebook() else _on_terminal
    with line(what) as report:
        yield report


@contextlib.contextmanager
def shown(progress: Report | bool | None) -> Iterator[Report | None]:
    """What an argument ``progress`` asks for.

    Args:
        progress: True for a live line (of rank 0), False or None for nothing, or a function of one's own.

    Yields:
        To be called with tasks done and tasks in all; None for nothing.
    """
    if progress is True and place().first:
        with task_progress() as report:
            yield report
    else:
        yield None if isinstance(progress, bool) else progress


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook; nothing is imported to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextlib.contextmanager
def _on_terminal(what: str) -> Iterator[Callable[[int, int], None]]:
    console, start = Console(stderr=True), time.perf_counter()
    count, speed = f"{{task.completed:,.0f}} of {{task.total:,.0f}} {what}", "{task.fields[speed]}"
    columns = (BarColumn(24), TextColumn(count), TextColumn(speed), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        row = bar.add_task("", visible=False, speed="")

        def report(done: int, total: int) -> None:
            speed = f"{_number(done / max(time.perf_counter() - start, 1e-9))} {what}/s"
            bar.update(row, completed=done, total=total, speed=speed, visible=True)

        yield report


@contextlib.contextmanager
def _in_notebook(what: str) -> Iterator[Callable[[int, int], None]]:
    """A line of text that is written over: it needs no widgets, and nothing of it stays in the notebook."""
    start, last, longest = time.perf_counter(), 0.0, 0

    def report(done: int, total: int) -> None:
        nonlocal last, longest
        now = time.perf_counter()
        if now - last < EVERY and done < total:
            return
        last, speed = now, done / max(now - start, 1e-9)
        left = f", {(total - done) / speed:,.0f} s left" if speed else ""
        text = f"{done:,} of {total:,} {what}, {_number(speed)} {what}/s{left}"
        longest = max(longest, len(text))
        print(f"\r{text:{longest}}", end="", file=sys.stderr, flush=True)

    try:
        yield report
    finally:
        if longest:
            print(f"\r{'':{longest}}\r", end="", file=sys.stderr, flush=True)


def _number(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
