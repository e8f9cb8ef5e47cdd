"""What a task family is: an endless, reproducible supply of few-shot tasks."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from metaft.tasks.batch import TaskBatch

Kind = Literal["classification", "regression"]


@runtime_checkable
class TaskFamily(Protocol):
    """A distribution over tasks whose batches are numbered: ``batch(i)`` is pure in (seed, i).

    ``kind`` is "classification" or "regression"; ``outputs`` the number of ways or of target values;
    ``input_shape`` the shape of one example. A family whose batches cost more to begin than to draw may also have
    ``batches_from(start, count, tasks)``: a list of what ``batch`` gives for so many indices in a row.
    """

    @property
    def kind(self) -> Kind:
        """Whether targets are class labels or values."""
        ...

    @property
    def outputs(self) -> int:
        """How many numbers a learner answers with for one query."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        ...

    def batch(self, index: int, tasks: int) -> TaskBatch:
        """Draw the index-th batch of tasks; the same arguments always give the same tasks."""
        ...

    def describe(self) -> dict[str, object]:
        """The settings that identify this family, as JSON-able values."""
        ...
