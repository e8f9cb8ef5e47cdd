"""What one run trains: a learner, its tasks, and how."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metaft.evaluation.validation import Scoring, metric_name
from metaft.learners.learner import MetaLearner
from metaft.runs.frozen_base import FrozenBase
from metaft.settings.config import CommandSettings
from metaft.settings.train import TrainSettings
from metaft.tasks.family import TaskFamily
from metaft.training.schedule import fraction_done
from metaft.training.state import Progress

LARGER_IS_BETTER = ("accuracy", "reward")
"""Metrics that are their own score; others are errors."""


@dataclass(frozen=True)
class Job:
    """What one run trains.

    Args:
        learner: what is trained.
        family: the training tasks.
        validation: the tasks that the best weights are chosen by, if there are any.
        train: how.
        config: the full settings, if the run was built from some.
        base: what checkpoints leave out, because the settings build it again; None for nothing.
        adapters: what the run keeps of the folders that it begins from: path → content.
    """

    learner: MetaLearner
    family: TaskFamily
    validation: TaskFamily | None
    train: TrainSettings
    config: CommandSettings | None
    base: FrozenBase | None = None
    adapters: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """What validation measures: "accuracy" or "mse"; or what a family that scores in its own way names."""
        return str(self._own("metric", metric_name(self.family.kind)))

    @property
    def counted(self) -> str:
        """What a batch holds: "tasks", "images" or "words"."""
        return str(self._own("counted", self.config.counted if self.config is not None else "tasks"))

    @property
    def each(self) -> int:
        """How many of them one task is."""
        return int(self._own("each", 1))

    @property
    def run_files(self) -> dict[str, bytes]:
        """What the run keeps beside its weights, such as a tokenizer: path → content."""
        found = getattr(self.family, "run_files", {})
        own = {name: str(text).encode() for name, text in found.items()} if isinstance(found, Mapping) else {}
        return own | dict(self.adapters)

    def _own(self, name: str, otherwise: Any) -> Any:
        """An attribute of a family that scores in its own way; anybody's other family may call its own so."""
        return getattr(self.family, name, otherwise) if isinstance(self.family, Scoring) else otherwise

    def done(self, at: Progress) -> float:
        """The fraction of the run that is behind us, 0 to 1."""
        return fraction_done(at.iteration, self.train.iterations, at.seconds, self.train.minutes)

    def best(self, at: Progress) -> float | None:
        """The best validation metric so far; of an error, which the score has with a minus, the error itself.

        Args:
            at: where the run stands.
        """
        if at.best_score is None or self.metric in LARGER_IS_BETTER:
            return at.best_score
        return -at.best_score

    def ended_early(self, at: Progress) -> str:
        """What to say of a run that has had no better validation for too long; empty while it goes on.

        Args:
            at: where the run stands, after the validation of that iteration if there is one.
        """
        patience, best = self.train.patience, at.best_iteration
        if patience is None or best is None or at.iteration - best < patience * self.train.validate_every:
            return ""
        many = "validations" if patience > 1 else "validation"
        return f"ended after iteration {at.iteration:,}: {patience} {many} without a better one than at {best:,}"

    def describe(self) -> dict[str, Any]:
        """Settings, learner and tasks, as plain JSON."""
        told: dict[str, Any] = {"train": self.train.model_dump(), "learner": self.learner.describe()}
        told |= {
            "family": self.family.describe(),
            "validation": None if self.validation is None else self.validation.describe(),
        }
        return dict(json.loads(json.dumps(told, default=str)))
