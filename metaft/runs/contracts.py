"""What a run needs of a learner."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from metaft.tasks.batch import TaskBatch


class MetaGradient(Protocol):
    """Mean query loss over the batch's tasks and its gradient."""

    @property
    def loss(self) -> Tensor:
        """A 0-dim tensor."""
        ...

    @property
    def grads(self) -> dict[str, Tensor]:
        """Named and shaped like the meta-parameters."""
        ...


class Learner(Protocol):
    """Something whose meta-parameters can be trained on batches of tasks."""

    name: str
    transductive: bool
    params: dict[str, Tensor]

    def meta_gradient(self, batch: TaskBatch) -> MetaGradient:
        """Differentiate the mean query loss after adapting by the meta-parameters."""
        ...

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Predict the queries after each inner step, ``[steps + 1, tasks, queries, outputs]``."""
        ...

    def describe(self) -> dict[str, object]:
        """The settings that identify this learner, as JSON-able values."""
        ...
