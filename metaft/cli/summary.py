"""What is shown when a run has ended: its result, where things lie, what to do next."""

from __future__ import annotations

import shlex

from rich import box
from rich.console import Console
from rich.table import Table

from metaft.inner.scope import SCOPE_HEADS
from metaft.learners.learner import MetaLearner as Learner
from metaft.runs.config import RunConfig
from metaft.runs.loop import TrainResult


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
    table.add_row("learner", f"{config.learner}, {config.model}, {config.steps} inner step(s)")
    table.add_row("iterations", f"{result.iterations:,} of {config.tasks} tasks in {result.seconds:,.1f} s")
    table.add_row(f"validation {result.metric}", best)
    table.add_row("run directory", str(result.out))
    table.add_row("next", f"metaft evaluate {where}\nmetaft tensorboard {where}")
    Console(soft_wrap=True).print(table)
