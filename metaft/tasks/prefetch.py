"""Batches drawn some at a time, by families that can."""

from __future__ import annotations

from metaft.companions import keeps_up
from metaft.tasks.batch import TaskBatch
from metaft.tasks.family import TaskFamily

TOGETHER, MOST_TASKS = 16, 4096
"""How many batches are drawn together, and of how many tasks in all at most."""


class Ahead:
    """Hands out a family's batches one after another, each once.

    A family that has ``batches_from(start, count, tasks)`` is asked for several together: what they cost besides their
    numbers is paid once, and some may be drawn that are not needed. Others are asked for one at a time.

    Args:
        family: the tasks.
        tasks: of each batch.
    """

    def __init__(self, family: TaskFamily, tasks: int) -> None:
        self._family, self._tasks = family, tasks
        together = keeps_up(family, "batches_from", "batch")
        self._count = max(1, min(TOGETHER, MOST_TASKS // max(tasks, 1))) if together else 1
        self._drawn: dict[int, TaskBatch] = {}

    def peek(self, index: int) -> TaskBatch:
        """What ``batch`` will hand out, which stays here until then."""
        if index not in self._drawn:
            self._drawn[index] = self.batch(index)
        return self._drawn[index]

    def batch(self, index: int) -> TaskBatch:
        """What ``family.batch(index, tasks)`` gives.

        Args:
            index: which batch.

        Returns:
            The batch; nobody else holds it.
        """
        if self._count == 1 and index not in self._drawn:
            return self._family.batch(index, self._tasks)
        if index not in self._drawn:
            drawn = self._family.batches_from(index, self._count, self._tasks)  # type: ignore[attr-defined]
            self._drawn = dict(enumerate(drawn, index))
        return self._drawn.pop(index)
