"""Loss and metric of predictions after each inner step, and the validation score that selects weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from metaft.distributed.world import ALONE, World
from metaft.evaluation.evaluate import draw, score
from metaft.evaluation.statistics import DIVERGED_ABOVE, mean_interval
from metaft.learners.learner import MetaLearner as Learner
from metaft.tasks.answers import log_probabilities
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.check import require_answers, require_fit
from metaft.tasks.family import TaskFamily


@dataclass(frozen=True)
class Validation:
    """A score on validation tasks.

    Args:
        loss: mean query loss after adapting.
        metric: mean accuracy (0 to 1), or mean squared error with each task's error capped at 50.
        ci95: half width of the metric's 95% interval over tasks.
        score: larger is better; what the best weights are chosen by.
        more: further numbers for the log, by name.
    """

    loss: float
    metric: float
    ci95: float
    score: float
    more: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Scoring(Protocol):
    """A family that scores learners in its own way."""

    def score(self, learner: Learner, tasks: int, device: torch.device | str, world: World) -> Validation:
        """The learner's score on the first tasks; the same tasks every time."""
        ...


def metric_name(kind: str) -> str:
    """What is reported for a kind of family: "accuracy" or "mse"."""
    return "accuracy" if kind == "classification" else "mse"


def losses(kind: str, predictions: Tensor, targets: Tensor) -> Tensor:
    """Query loss of each task.

    Args:
        kind: "classification" (mean cross-entropy, padding left out) or "regression" (mean squared error).
        predictions: ``[..., tasks, queries, outputs]``.
        targets: ``[tasks, queries]`` labels or ``[tasks, queries, outputs]`` values.

    Returns:
        ``[..., tasks]``.
    """
    if kind == "classification":
        counted = targets != IGNORE
        truth = targets.where(counted, 0).expand(predictions.shape[:-1]).unsqueeze(-1)
        right = log_probabilities(predictions).gather(-1, truth).squeeze(-1).where(counted, 0)
        return -right.sum(-1) / counted.sum(-1)
    return (predictions - targets).square().mean((-2, -1))


def per_step(curve: Tensor, targets: Tensor, support_y: Tensor | None = None) -> list[float]:
    """Mean metric over tasks after each inner step.

    Args:
        curve: ``[steps + 1, tasks, queries, outputs]`` predictions.
        targets: the queries' truth.
        support_y: the support sets' labels; a class absent from them is never the answer.

    Returns:
        ``steps + 1`` numbers, the first before adapting.
    """
    return score(curve, targets, support_y)[1].mean(-1).tolist()


def validate(
    learner: Learner, family: TaskFamily, tasks: int, device: torch.device | str = "cpu", world: World = ALONE
) -> Validation:
    """Score a learner on the first tasks of a family; the same tasks every time.

    Args:
        learner: with the weights to score.
        family: of the validation classes.
        tasks: how many.
        device: where the learner computes.
        world: the ranks that share the tasks.

    Returns:
        The score. NaN and diverged errors count as the cap of 50, so that they cannot win or hide. Tasks with an
        answer of NaN or +inf are counted under "diverged", if there are any.
    """
    if isinstance(family, Scoring):
        return family.score(learner, tasks, device, world)

    def scored(batch: TaskBatch, first: int) -> Tensor:
        require_fit(batch, family, first)
        answers = learner.curve(batch.to(device))
        adapted = require_answers(answers, batch, f"learner {learner.name!r}: its curve")[-1:].cpu()
        _, metric, bad = score(adapted, batch.query_y, batch.support_y)
        return torch.stack([losses(family.kind, adapted[0], batch.query_y).double(), metric[0], bad[0].double()])

    loss, values, bad = world.map_tasks(scored, draw(family, tasks))
    if family.kind == "regression":
        values = values.nan_to_num(DIVERGED_ABOVE, DIVERGED_ABOVE).clamp(max=DIVERGED_ABOVE)
    mean, ci95 = mean_interval(values)
    value = mean if family.kind == "classification" else -mean
    more = {"diverged": int(bad.sum())} if bool(bad.any()) else {}
    return Validation(float(loss.mean()), mean, ci95, value, more)
