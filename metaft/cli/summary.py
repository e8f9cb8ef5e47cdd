"""What is shown on the terminal: waiting, progress, and at the end the result, where things lie, what to do next."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from metaft.environment import program
from metaft.inner.scope import SCOPE_HEADS
from metaft.learners.learner import MetaLearner as Learner
from metaft.settings.config import RunConfig
from metaft.settings.pretrain import PretrainConfig
from metaft.training.loop import TrainResult


@contextlib.contextmanager
def waiting(text: str, shown: bool = True) -> Iterator[None]:
    """Show on a terminal that something slow goes on; print nothing elsewhere.

    Args:
        text: what goes on.
        shown: False for silence.
    """
    console = Console(stderr=True)
    with console.status(text) if shown and console.is_terminal else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def task_progress() -> Iterator[Callable[[int, int], None]]:
    """A live line with tasks done, tasks/s and time left on a terminal; nothing elsewhere.

    Yields:
        To be called with tasks done and tasks in all.
    """
    console = Console(stderr=True)
    columns = (
        BarColumn(24),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} tasks"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        row = None
        start = time.perf_counter()

        def report(done: int, total: int) -> None:
            nonlocal row
            speed = f"{done / max(time.perf_counter() - start, 1e-9):,.0f} tasks/s"
            if row is None:
                row = bar.add_task("", total=total, speed=speed)
            bar.update(row, completed=done, speed=speed)

        yield report


def show_scope(learner: Learner) -> None:
    """Print what adapts and what is meta-trained, unless that is everything.

    Args:
        learner: about to be trained.
    """
    rows = learner.scope_rows()
    if all(row[2] == "adapts" and row[3] == "meta-trained" for row in rows):
        return
    table = Table(*SCOPE_HEADS, box=box.SIMPLE)
    for row in rows:
        table.add_row(*row)
    Console(soft_wrap=True).print(table)


def show(result: TrainResult, config: RunConfig, learner: Learner) -> None:
    """Print a table and the next commands.

    Args:
        result: of the run.
        config: its settings.
        learner: what was trained.
    """
    mode = "transductive" if learner.transductive else "inductive"
    best = "–"
    if result.best is not None:
        score = f"{100 * result.best:.2f}%" if result.metric == "accuracy" else f"{result.best:.4f}"
        best = f"{score} ({mode}), at iteration {result.best_iteration}"
    where = shlex.quote(str(result.out))
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    shape = f"{config.ways}-way {config.shots}-shot" if result.metric == "accuracy" else f"{config.shots} shots"
    table.add_row("task", f"{config.dataset}, {shape}")
    steps = learner.describe().get("steps")
    inner = "" if steps is None else f", {steps} inner {'step' if steps == 1 else 'steps'}"
    table.add_row("learner", f"{config.learner}, {config.model}{inner}")
    table.add_row("iterations", f"{result.iterations:,} of {config.tasks} tasks in {result.seconds:,.1f} s")
    table.add_row(f"validation {result.metric}", best)
    table.add_row("run directory", str(result.out))
    table.add_row("next", f"{program()} evaluate {where}\n{program()} tensorboard {where}")
    Console(soft_wrap=True).print(table)


def show_pretrained(result: TrainResult, config: PretrainConfig, classes: int) -> None:
    """Print a table and the next commands.

    Args:
        result: of the run.
        config: its settings.
        classes: how many were told apart.
    """
    where = shlex.quote(str(result.out))
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("trained on", f"{config.dataset}, {classes:,} classes")
    table.add_row("network", f"{config.model}, {config.head} head")
    table.add_row("iterations", f"{result.iterations:,} of {config.batch_size} images in {result.seconds:,.1f} s")
    if result.best is not None:
        found = f"{100 * result.best:.2f}% (inductive), at iteration {result.best_iteration}"
        table.add_row(f"validation, {config.ways}-way {config.shots}-shot by class means", found)
    table.add_row("run directory", str(result.out))
    learners = " ".join(f"{name}:backbone={where}" for name in ("class-means", "fine-tuning", "head-first"))
    table.add_row("next", f"{program()} compare {learners} --dataset {config.dataset}\n{program()} tensorboard {where}")
    Console(soft_wrap=True).print(table)
