"""Held-out examples of the training classes: a validation, or a test, of classification."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.data.examples import LabelledExamples
from metaft.data.layout import Layout
from metaft.distributed.world import ALONE, World
from metaft.evaluation.calibration import agreement, expected_calibration_error, mean_entropy
from metaft.evaluation.evaluate import Answering
from metaft.evaluation.statistics import mean_interval
from metaft.evaluation.validation import Validation, validate
from metaft.learners.learner import MetaLearner
from metaft.tasks.answers import answered, log_probabilities
from metaft.tasks.batch import TaskBatch
from metaft.tasks.family import Kind, TaskFamily

CHUNK = 1000
"""Examples answered at once."""


@dataclass(frozen=True)
class Measures:
    """What a classifier's scores for some examples come to.

    Args:
        examples: how many.
        errors: how many of them are answered wrongly.
        accuracy: the others' share.
        ci95: half width of its 95% interval over examples.
        loss: mean cross-entropy, nats.
        ece: expected calibration error.
        entropy: mean entropy of the answers' probabilities, nats.
        agreement: share of examples with the teacher's answer; None without a teacher.
        unanswered: how many of the errors are no answers: scores that hold NaN or +inf.
    """

    examples: int
    errors: int
    accuracy: float
    ci95: float
    loss: float
    ece: float
    entropy: float
    agreement: float | None = None
    unanswered: int = 0

    def monitored(self) -> dict[str, float]:
        """What a run logs beside loss and accuracy."""
        logged = {"ece": self.ece, "entropy": self.entropy, "agreement": self.agreement,
                  "unanswered": self.unanswered or None}  # fmt: skip
        return {name: value for name, value in logged.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """All of it, by name."""
        return dataclasses.asdict(self)


def measure(scores: Tensor, labels: Tensor, teacher: Tensor | None = None) -> Measures:
    """Accuracy, calibration, entropy, and agreement with a teacher.

    Args:
        scores: ``[examples, classes]``, before the softmax.
        labels: ``int64 [examples]``.
        teacher: its scores of the same examples.

    Returns:
        The measures.
    """
    scores = scores.double()
    logarithms = log_probabilities(scores)
    given, none = answered(scores)
    right = (given == labels) & ~none
    mean, ci95 = mean_interval(right.double())
    return Measures(
        examples=len(labels),
        errors=int((~right).sum()),
        accuracy=mean,
        ci95=ci95,
        loss=float(F.nll_loss(logarithms, labels)),
        ece=float(expected_calibration_error(logarithms.exp(), labels)),
        entropy=float(mean_entropy(logarithms.exp())),
        agreement=None if teacher is None else float(agreement(scores, teacher)),
        unanswered=int(none.sum()),
    )


@torch.no_grad()
def answers(learner: Answering, examples: LabelledExamples, device: torch.device | str = "cpu") -> Tensor:
    """A classifier's scores.

    Args:
        learner: answers for queries without a support set.
        examples: images or texts.
        device: where the learner computes.

    Returns:
        ``float32 [examples, classes]``, on the CPU.
    """
    answer = lambda x: learner.curve(_tasks(x, examples.layout).to(device))[-1, :, 0].cpu()
    return examples.each(answer, CHUNK)


def _tasks(examples: Tensor, layout: Layout) -> TaskBatch:
    """Examples as tasks of one query and no support; their labels are not told."""
    x = examples.unsqueeze(1)
    y = torch.zeros(len(x), 1, dtype=torch.int64)
    return TaskBatch(x[:, :0], y[:, :0], x, y, layout=layout)


@dataclass(frozen=True)
class HeldOut:
    """Examples that a classifier has not learned from, each a task without support and with one query.

    Args:
        images: the examples, class by class.
        dataset: the data set's name, for the record.
        split: the split's name, for the record.
        details: the data set's options, JSON-able, for the record.
        teacher: a teacher's scores of the examples, ``[examples, classes]``, if agreement with it is to be measured.
    """

    images: LabelledExamples = field(repr=False)
    dataset: str = "images"
    split: str = "val"
    details: Mapping[str, object] = field(default_factory=dict, hash=False)
    teacher: Tensor | None = field(default=None, repr=False, compare=False)
    kind: ClassVar[Kind] = "classification"

    @property
    def outputs(self) -> int:
        """One score a class."""
        return self.images.classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of an image ``(channels, height, width)``, of a text ``(places,)``, the longest's."""
        return self.images.input_shape

    @property
    def labels(self) -> Tensor:
        """``int64 [examples]``."""
        return self.images.labels

    def batch(self, index: int, tasks: int) -> TaskBatch:
        """The index-th block of examples in stored order, from the first again after the last."""
        rows = (torch.arange(tasks) + index * tasks) % len(self.images)
        batch = _tasks(self.images.take(rows), self.images.layout)
        return dataclasses.replace(batch, query_y=self.labels[rows].unsqueeze(1))

    def measure(self, learner: Answering, device: torch.device | str = "cpu") -> Measures:
        """Score a classifier on all examples."""
        return measure(answers(learner, self.images, device), self.labels, self.teacher)

    def score(self, learner: MetaLearner, tasks: int, device: torch.device | str, world: World = ALONE) -> Validation:
        """What the training loop chooses weights by: accuracy on all examples, however many tasks it asks for."""
        found = self.measure(learner, device)
        return Validation(found.loss, found.accuracy, found.ci95, found.accuracy, found.monitored())

    def describe(self) -> dict[str, object]:
        """The settings that identify this family."""
        return {
            **self.details,
            **self.images.details,
            "family": "held-out examples",
            "dataset": self.dataset,
            "split": self.split,
            "classes": self.images.classes,
            "input_shape": list(self.input_shape),
        }


@dataclass(frozen=True)
class Watched:
    """Few-shot validation tasks, and some images of the training classes on which a student's answers are watched.

    Args:
        tasks: what weights are chosen by.
        probe: the images; their accuracy and calibration say nothing, being trained on, and are not reported.
    """

    tasks: TaskFamily
    probe: HeldOut

    @property
    def kind(self) -> Kind:
        """That of the tasks."""
        return self.tasks.kind

    @property
    def outputs(self) -> int:
        """Of the tasks."""
        return self.tasks.outputs

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the tasks."""
        return self.tasks.input_shape

    def batch(self, index: int, tasks: int) -> TaskBatch:
        """The index-th batch of the tasks."""
        return self.tasks.batch(index, tasks)

    def score(self, learner: MetaLearner, tasks: int, device: torch.device | str, world: World = ALONE) -> Validation:
        """The tasks' score, with the entropy of the student's answers and its agreement with its teacher beside it."""
        found = validate(learner, self.tasks, tasks, device, world)
        watched = self.probe.measure(learner, device).monitored()
        del watched["ece"]
        return dataclasses.replace(found, more={**found.more, **watched})

    def describe(self) -> dict[str, object]:
        """The settings that identify the tasks."""
        return self.tasks.describe()
