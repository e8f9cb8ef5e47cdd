"""What an evaluation found: scores by task and by inner step, with what they were measured on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.evaluation.frame import frame
from metaft.evaluation.statistics import Summary
from metaft.evaluation.wording import describe_family, spoken_score
from metaft.plain_json import finite


@dataclass(frozen=True, eq=False)
class Result:
    """How one learner did on a set of tasks.

    Args:
        metric: ``"accuracy"`` (in [0, 1], higher is better) or ``"mse"`` (mean squared error).
        transductive: whether the score of one query may depend on the other queries (batch-norm statistics).
        per_task: ``float64 [tasks]``, the score of each task after the last step; diverged tasks are not
            left out here.
        steps: one `Summary` over tasks after each inner step 0, 1, …; one in all for a learner without steps.
        diverged_tasks: the indices of the tasks that diverged at the last step. In a classification those are
            tasks with a query whose scores hold NaN or +inf: it counts as wrong and the task stays in the mean.
        seconds: wall-clock time, drawing the tasks included.
        learner: the learner's name and settings.
        family: the task family's settings.
        answering_seconds: the part of it in which the learner adapted and answered, after every step.
    """

    metric: str
    transductive: bool
    per_task: Tensor
    steps: tuple[Summary, ...]
    diverged_tasks: tuple[int, ...]
    seconds: float
    learner: dict[str, Any]
    family: dict[str, Any]
    answering_seconds: float = math.nan

    @property
    def mean(self) -> float:
        """Mean over tasks after the last step; diverged regressions are left out."""
        return self.steps[-1].mean

    @property
    def ci95(self) -> float:
        """Half width of the mean's 95% interval over tasks."""
        return self.steps[-1].ci95

    @property
    def median(self) -> float:
        """Median over all tasks, diverged ones included."""
        return self.steps[-1].median

    @property
    def diverged(self) -> int:
        """How many tasks diverged."""
        return self.steps[-1].diverged

    @property
    def tasks(self) -> int:
        """How many tasks were evaluated."""
        return len(self.per_task)

    @property
    def per_step(self) -> list[tuple[float, float]]:
        """``(mean, ci95)`` after each inner step, from 0 (before adapting)."""
        return [(step.mean, step.ci95) for step in self.steps]

    @property
    def mode(self) -> str:
        """``"transductive"`` or ``"inductive"``, to be printed beside every score."""
        return "transductive" if self.transductive else "inductive"

    def __repr__(self) -> str:
        told = [f"{spoken_score(self.mean, self.ci95, self.metric)} over {self.tasks} tasks", self.mode]
        told += [f"{self.diverged} diverged"] if self.diverged else []
        return f"Result({self.learner.get('name')} on {describe_family(self.family)}: {'; '.join(told)})"

    def records(self, by: Literal["steps", "tasks"] = "steps") -> list[dict[str, Any]]:
        """The scores as plain records.

        Args:
            by: "steps", a record an inner step; or "tasks", a record a task.

        Returns:
            Records of the same names; accuracies in [0, 1].

        Raises:
            MetaftError: if `by` is neither.
        """
        who = {"learner": self.learner.get("name"), "metric": self.metric, "mode": self.mode}
        if by == "tasks":
            bad = set(self.diverged_tasks)
            return [who | {"task": task, "score": score, "diverged": task in bad}
                    for task, score in enumerate(self.per_task.tolist())]  # fmt: skip
        if by != "steps":
            raise MetaftError(f"by = {by!r}: should be 'steps' or 'tasks'")
        return [who | {"step": step, "tasks": self.tasks, **dataclasses.asdict(one)}
                for step, one in enumerate(self.steps)]  # fmt: skip

    def to_frame(self, by: Literal["steps", "tasks"] = "steps") -> Any:
        """The scores as a data frame.

        Args:
            by: as in `records`.

        Returns:
            A ``pandas.DataFrame``.

        Raises:
            MetaftError: if pandas is not installed.
        """
        return frame(self.records(by))

    def plot(self) -> Any:
        """The score after each inner step, with its 95% interval.

        Returns:
            A ``matplotlib.figure.Figure``; a notebook shows it.
        """
        from metaft.evaluation.plots import accuracy_per_step  # matplotlib is loaded where something is drawn

        return accuracy_per_step(self)

    def _repr_html_(self) -> str:
        from metaft.evaluation.notebook import result_html

        return result_html(self)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values; what is not a finite number becomes ``None``."""
        page = {
            "metric": self.metric,
            "mode": self.mode,
            "tasks": self.tasks,
            **dataclasses.asdict(self.steps[-1]),
            "diverged_tasks": self.diverged_tasks,
            "per_step": [dataclasses.asdict(step) for step in self.steps],
            "seconds": round(self.seconds, 3),
            "answering_seconds": round(self.answering_seconds, 6),
            "learner": self.learner,
            "family": self.family,
            "per_task": [round(value, 6) for value in self.per_task.tolist()],
        }
        return dict(finite(page))

    @classmethod
    def from_json(cls, page: Mapping[str, Any]) -> Self:
        """What `to_json` gave, to six decimals of a task's score.

        Args:
            page: its output.

        Returns:
            The result; ``None`` becomes NaN again.
        """
        names = [field.name for field in dataclasses.fields(Summary)]
        return cls(
            metric=page["metric"],
            transductive=page["mode"] == "transductive",
            per_task=torch.tensor([_number(value) for value in page["per_task"]], dtype=torch.float64),
            steps=tuple(Summary(**{name: _number(step[name]) for name in names}) for step in page["per_step"]),
            diverged_tasks=tuple(page["diverged_tasks"]),
            seconds=page["seconds"],
            learner=dict(page["learner"]),
            family=dict(page["family"]),
            answering_seconds=_number(page["answering_seconds"]),
        )


def _number(value: Any) -> Any:
    return math.nan if value is None else value
