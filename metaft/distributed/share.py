"""The tasks of a batch that one rank computes."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from metaft.tasks.batch import TaskBatch


@dataclasses.dataclass(frozen=True)
class Share:
    """What one rank does of a batch.

    Args:
        batch: its tasks.
        start: the place of the first of them among all.
        total: how many tasks all ranks have together.
        counts: whether they count; a rank that has none takes the first task, to know all shapes.
    """

    batch: TaskBatch
    start: int
    total: int
    counts: bool = True

    @property
    def weight(self) -> float:
        """What the mean over these tasks counts in the mean over all."""
        return self.batch.tasks / self.total if self.counts else 0.0

    def to(self, device: torch.device) -> Share:
        """The same with its tensors on a device."""
        return dataclasses.replace(self, batch=self.batch.to(device))

    def weighted(self, mean: Tensor) -> Tensor:
        """This share's part of the mean over all tasks."""
        # 0 · NaN would be NaN: a share that does not count must not fail the others.
        return mean * self.weight if self.counts else torch.zeros_like(mean)

    def placed(self, values: Tensor) -> Tensor:
        """A value for each task ``[tasks]`` at its place among all ``[total]``, zeros elsewhere."""
        whole = values.new_zeros(self.total)
        if self.counts:
            whole[self.start : self.start + self.batch.tasks] = values
        return whole
