"""What a run writes about itself beside its metrics: its beginning, its failure, a picture of an episode."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.evaluation.validation import Scoring
from metaft.learners.learner import MetaLearner as Learner
from metaft.outer.mean_gradient import MetaGradient
from metaft.runs.directory import RunDirectory, write_beginning
from metaft.runs.metrics import Metrics
from metaft.runs.reading import dig
from metaft.runs.resuming import MAY_CHANGE, require_same_config, require_same_settings
from metaft.tasks.batch import TaskBatch
from metaft.tasks.digest import digest
from metaft.tasks.family import TaskFamily
from metaft.training.job import Job


def write_run_record(
    run: RunDirectory, job: Job, resume: bool, command: str | None, restore: Callable[[], None] = lambda: None
) -> None:
    """Write ``run.json`` and ``config.toml``.

    Args:
        run: the run directory.
        job: what the run trains.
        resume: whether there is a run to go on with.
        command: what the user called; the process's arguments by default.
        restore: takes up a resumed run's state; called when all that was compared is alike, before anything is written.

    Raises:
        MetaftError: if a resumed run would go on with other settings, tasks or data than it began with.
    """
    config, settings, first = job.config, job.describe(), job.family.batch(0, 1)
    # For readers who cannot or will not rebuild the run or its data: its table of parameters, what an example is, and
    # whether they have the same data.
    more: dict[str, Any] = {"scope": job.learner.scope_rows(), "first_task_sha256": digest(first)}
    shape = {"kind": job.family.kind, "outputs": job.family.outputs, "input_shape": list(job.family.input_shape)}
    more["task"] = shape
    if resume:
        earlier = run.record()
        if config is not None:
            require_same_config(run.path, config)
        require_same_settings(earlier, settings)
        _require_same_data(earlier, more, first)
        before = {k: earlier.get(k) for k in ("command", "started", "state")}
        before |= {name: dig(earlier, "settings", "train", name) for name in MAY_CHANGE}
        past = earlier.get("history")
        more["history"] = [*(past if isinstance(past, list) else []), before]
        restore()
    write_beginning(run, command or " ".join(sys.argv), config, settings, more, resume, job.run_files)


def _require_same_data(earlier: Mapping[str, Any], now: Mapping[str, Any], first: TaskBatch) -> None:
    """Refuse images that have changed since: numbers that are computed may differ from machine to machine."""
    before = earlier.get("first_task_sha256")
    if first.example_layout == "images" and before is not None and before != now["first_task_sha256"]:
        raise MetaftError(
            "the data are not those that the run was begun with: its first task is another one; bring them back, or "
            "give another --out"
        )


def not_finite(job: Job, iteration: int, loss: float, out: MetaGradient, kept: str | None) -> MetaftError:
    """Say what became NaN or infinite, when, and with which rates.

    Args:
        job: what the run trains.
        iteration: the meta-update that could not be made.
        loss: its query loss.
        out: its gradient.
        kept: the last checkpoint, if there is one.

    Returns:
        The error to raise.
    """
    bad = next((name for name, g in out.grads.items() if not bool(g.isfinite().all())), None)
    if not math.isfinite(loss):
        tasks = (~out.losses.isfinite()).nonzero().flatten().tolist()
        named = ", ".join(map(str, tasks[:5])) + (" …" if len(tasks) > 5 else "")
        cause = f"the query loss is {loss}, from task {named} of the batch"
    elif bad is not None:
        cause = f"the gradient of {bad!r} is not finite"
    else:
        cause = "the norm of the gradient overflows"
    inner = job.learner.describe().get("inner_lr")
    rates = f"outer_lr = {job.train.outer_lr}" + ("" if inner is None else f", inner_lr = {inner}")
    saved = f"the last good checkpoint, {kept}, is kept" if kept else "no checkpoint had been made yet"
    return MetaftError(f"iteration {iteration}: {cause} ({rates}); {saved}; try a smaller rate or --clip")


@runtime_checkable
class Telling(Protocol):
    """A family that shows in words what a learner answers."""

    def samples(self, learner: Any, device: torch.device) -> dict[str, str]:
        """Name → text; the same queries every time."""
        ...


def show_episode(metrics: Metrics, learner: Learner, family: TaskFamily, device: torch.device, iteration: int) -> None:
    """Picture one task with the learner's answers in TensorBoard, where a task can be drawn; the same task every time.

    Args:
        metrics: the open log.
        learner: with the weights to show.
        family: its first task is shown.
        device: where the learner computes.
        iteration: the step to show it at.
    """
    from metaft.evaluation.episode_card import episode_card

    if isinstance(family, Telling) and isinstance(family, Scoring):
        for name, text in family.samples(learner, device).items():
            metrics.text(name, text, iteration)
        return
    shown = _answered(learner, family, device)
    card = episode_card(*shown) if shown is not None else None
    if card is not None:
        metrics.picture("episode", card, iteration)


def draw_episode(run: RunDirectory, learner: Learner, family: TaskFamily, device: torch.device) -> None:
    """Picture one task with the learner's answers as a file, where a task can be drawn.

    Args:
        run: the run directory.
        learner: with its final weights.
        family: its first task is shown.
        device: where the learner computes.
    """
    from metaft.evaluation.plots import episode_figure, save

    shown = _answered(learner, family, device)
    if shown is not None:
        save(episode_figure(*shown), run.path / "episode.png")


def _answered(learner: Learner, family: TaskFamily, device: torch.device) -> tuple[TaskBatch, Tensor] | None:
    """The task that is shown, and the answers; None for inputs that are neither images nor points on a line."""
    batch = family.batch(0, 1) if len(family.input_shape) == 3 or family.input_shape == (1,) else None
    if batch is None or not batch.support_x.shape[1]:  # without support: examples of classes known from training
        return None
    with torch.random.fork_rng(devices=[]):  # a picture changes no number
        return batch, learner.curve(batch.to(device))[-1].detach().cpu()
