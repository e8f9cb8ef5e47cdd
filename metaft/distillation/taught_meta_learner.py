"""A slow adapted learner as the teacher of a fast one: its answers to the queries, beside their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metaft.distillation.losses import mixed, require_temperature, require_weight, soft_targets
from metaft.errors import MetaftError
from metaft.inner.losses import cross_entropy
from metaft.learners.answering import last_answers
from metaft.learners.learner import Learner, MetaLearner, Predictor
from metaft.outer.mean_gradient import MetaGradient
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.soft_targets import packed, unpacked


@dataclass(frozen=True)
class TeacherLoss:
    """The query loss of one task whose targets are a teacher's scores and the labels.

    (1 − w) T² KL(softmax(v / T) ‖ softmax(z / T)) + w · cross-entropy, a mean over the examples that are not padding
    (Hinton et al. 2015, §2).

    Args:
        temperature: T > 0.
        label_weight: w in [0, 1]; at 1 it is exactly the cross-entropy of the labels.

    Raises:
        MetaftError: if T or w are out of range.
    """

    temperature: float
    label_weight: float

    def __post_init__(self) -> None:
        require_temperature(self.temperature)
        require_weight(self.label_weight)

    def __call__(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The loss of scores ``[queries, ways]`` z, targets ``[queries, ways + 1]`` being v and the label."""
        teacher, labels = unpacked(targets)
        of_labels = cross_entropy(scores, labels)
        if self.label_weight == 1:
            return of_labels
        counted = labels != IGNORE
        of_teacher = soft_targets(scores, teacher, self.temperature).where(counted, 0.0).sum() / counted.sum()
        return mixed(of_teacher, of_labels, self.label_weight)


class Distilled:
    """A meta-learner trained on a teacher's answers to the queries as well as on their labels.

    Both adapt to the same support sets, the teacher slowly (many inner steps, say), the student as quickly as it is
    meant to be. Only the student's outer loss differs (`TeacherLoss`): its inner loop has the labels, as at test, so
    estimators, scopes and engines are as they were. The teacher is frozen, and is not needed after training:
    parameters, answers and curves are the student's own.

    Args:
        student: has an ``outer_loss``, as MAML and its relatives do; it is set here.
        teacher: another learner of as many ways.
        temperature: T > 0, softens both answers.
        label_weight: w in [0, 1], the share of the labels; the teacher's is 1 − w.
        told: what else `describe` is to say about the teacher, such as a digest of its weights.

    Raises:
        MetaftError: if the teacher is the student itself, the student cannot be taught so, or T or w are out of range.
    """

    def __init__(
        self,
        student: MetaLearner,
        teacher: Learner,
        *,
        temperature: float = 4.0,
        label_weight: float = 0.5,
        told: Mapping[str, object] | None = None,
    ) -> None:
        if teacher is student:
            raise MetaftError("a learner cannot be its own teacher: make another one, with its own weights")
        if not hasattr(student, "outer_loss"):
            raise MetaftError(f"learner {student.name!r} has no query loss that a teacher's answers could enter")
        if getattr(student, "estimator", None) == "reptile":
            raise MetaftError("estimator 'reptile' does not descend the query loss, where a teacher's answers are")
        if getattr(student, "kind", "classification") != "classification":
            raise MetaftError("a teacher's soft answers are class probabilities, and this is a regression")
        student.outer_loss = TeacherLoss(temperature, label_weight)
        self.student, self.teacher, self.loss = student, teacher, student.outer_loss
        self.told = dict(told or {})

    @property
    def name(self) -> str:
        """The student's."""
        return self.student.name

    @property
    def transductive(self) -> bool:
        """Whether the student's answer to one query depends on the others."""
        return self.student.transductive

    @property
    def params(self) -> dict[str, Tensor]:
        """The student's meta-parameters."""
        return self.student.params

    @params.setter
    def params(self, params: dict[str, Tensor]) -> None:
        self.student.params = params

    def set_progress(self, fraction: float) -> None:
        """Pass on which fraction of training is done, to a student that goes by it."""
        if hasattr(self.student, "set_progress"):
            self.student.set_progress(fraction)

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Adapt the student; the teacher takes no part."""
        return self.student.adapt(support_x, support_y)

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """The student's answers after each inner step, ``[steps + 1, tasks, query, outputs]``."""
        return self.student.curve(batch, steps)

    def scope_rows(self) -> list[list[str]]:
        """What of the student adapts and is meta-trained."""
        return self.student.scope_rows()

    def describe(self) -> dict[str, object]:
        """The student's settings, and who teaches it how."""
        told = {f"teacher_{name}": value for name, value in self.teacher.describe().items()}
        return self.student.describe() | told | self.told | dataclasses.asdict(self.loss)

    def meta_gradient(self, batch: TaskBatch) -> MetaGradient:
        """The student's mean query loss, teacher included, and its gradient."""
        return self.student.meta_gradient(self.taught(batch))

    def adjoint_norms(self, batch: TaskBatch) -> list[float]:
        """The student's adjoint at each inner step, of the loss that it is trained on."""
        return self.student.adjoint_norms(self.taught(batch))

    @torch.no_grad()
    def taught(self, batch: TaskBatch) -> TaskBatch:
        """The same tasks, the teacher's scores beside the labels of the queries."""
        device = batch.query_x.device
        if any(value.device != device for value in self.teacher.params.values()):
            moved = {name: value.to(device) for name, value in self.teacher.params.items()}
            self.teacher.params = moved  # type: ignore[misc]  # whoever has some lets them be set
        return dataclasses.replace(batch, query_y=packed(last_answers(self.teacher, batch)[0], batch.query_y))
