"""What one run trains: a learner, its tasks, and how."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from metaft.evaluation.validation import metric_name
from metaft.learners.learner import MetaLearner
from metaft.settings.config import CommandSettings
from metaft.settings.train import TrainSettings
from metaft.tasks.family import TaskFamily
from metaft.training.schedule import fraction_done
from metaft.training.state import Progress


@dataclass(frozen=True)
class Job:
    """What one run trains.

    Args:
        learner: what is trained.
        family: the training tasks.
        validation: the tasks that the best weights are chosen by, if there are any.
        train: how.
        config: the full settings, if the run was built from some.
    """

    learner: MetaLearner
    family: TaskFamily
    validation: TaskFamily | None
    train: TrainSettings
    config: CommandSettings | None

    @property
    def metric(self) -> str:
        """What validation measures: "accuracy", "mse", or what the family names in an attribute ``metric``."""
        return str(getattr(self.family, "metric", metric_name(self.family.kind)))

    @property
    def counted(self) -> str:
        """What a batch holds: "tasks", "images" or "words"."""
        return str(getattr(self.family, "counted", self.config.counted if self.config is not None else "tasks"))

    @property
    def each(self) -> int:
        """How many of them one task is."""
        return int(getattr(self.family, "each", 1))

    def done(self, at: Progress) -> float:
        """The fraction of the run that is behind us, 0 to 1."""
        return fraction_done(at.iteration, self.train.iterations, at.seconds, self.train.minutes)

    def describe(self) -> dict[str, Any]:
        """Settings, learner and tasks, as plain JSON."""
        told: dict[str, Any] = {"train": self.train.model_dump(), "learner": self.learner.describe()}
        told |= {
            "family": self.family.describe(),
            "validation": None if self.validation is None else self.validation.describe(),
        }
        return dict(json.loads(json.dumps(told, default=str)))
