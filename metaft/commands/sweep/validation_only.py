"""Scores that something may be chosen by: on validation classes, and on nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import FiniteFloat

from metaft.errors import MetaftError
from metaft.evaluation.cell import has_no_randomness
from metaft.evaluation.evaluate import Answering, Progress, evaluate
from metaft.evaluation.statistics import DIVERGED_ABOVE, mean_interval
from metaft.tasks.family import TaskFamily


@dataclass(frozen=True)
class Score:
    """How good one member of a sweep is.

    Args:
        metric: "accuracy" (larger is better) or "mse".
        mode: "transductive" or "inductive".
        mean: over validation tasks; errors are capped at 50 a task, so that a diverged one cannot win or hide.
        ci95: half width of the 95% interval, None if unknown.
        per_task: task by task, on the same tasks for all members; None for a run's own validation.
        deterministic: whether the learner says that it holds no weights and no seed, so that one seed stands for all.
    """

    metric: Literal["accuracy", "mse"]
    mode: Literal["transductive", "inductive"]
    mean: FiniteFloat
    ci95: float | None
    per_task: tuple[float, ...] | None = None
    deterministic: bool = False


def validation_score(learner: Answering, family: TaskFamily, tasks: int, progress: Progress | None = None) -> Score:
    """Score a learner on validation tasks.

    Args:
        learner: what to score.
        family: of the validation classes; any other is refused.
        tasks: how many.
        progress: called with tasks done and tasks in all.

    Returns:
        The score.

    Raises:
        MetaftError: if the family is not of the split "val", or as ``evaluate``.
    """
    require_validation(family)
    result = evaluate(learner, family, tasks, every_step=False, progress=progress)
    values = result.per_task
    if result.metric == "mse":
        values = torch.nan_to_num(values, DIVERGED_ABOVE, DIVERGED_ABOVE).clamp(max=DIVERGED_ABOVE)
    mean, ci95 = mean_interval(values)
    known = has_no_randomness(result.learner)
    return Score(result.metric, result.mode, mean, ci95, tuple(values.tolist()), known)  # type: ignore[arg-type]


def require_validation(family: Any) -> None:
    """Refuse all tasks but those of the validation classes.

    Args:
        family: a task family.

    Raises:
        MetaftError: if it is none, does not say its split, or says another than "val".
    """
    if not isinstance(family, TaskFamily):
        raise MetaftError(f"a sweep scores task families, got {type(family).__name__}")
    said = {getattr(family, "split", None), family.describe().get("split")} - {None}
    if said != {"val"}:
        found = " and ".join(sorted(map(repr, said))) or "no split at all"
        raise MetaftError(f"nothing is chosen but on validation classes: the tasks must say split 'val', not {found}")
