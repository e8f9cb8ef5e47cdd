from __future__ import annotations

import pytest
import torch

from metaft.tasks.batch import TaskBatch
from metaft.tasks.prefetch import MOST_TASKS, Ahead
from metaft.tasks.sinusoid import Sinusoids


class Shifted(Sinusoids):
    """Somebody's own waves."""

    def batch(self, index: int, tasks: int) -> TaskBatch:
        return super().batch(index + 100, tasks)


@pytest.mark.parametrize("family", [Sinusoids(shots=3, seed=5), Sinusoids(tell=True, split="val"), Shifted()])
@pytest.mark.parametrize("tasks", [1, 25, MOST_TASKS // 2, MOST_TASKS + 1])
def test_batches_drawn_ahead_are_those_drawn_one_by_one(family: Sinusoids, tasks: int) -> None:
    ahead = Ahead(family, tasks)
    for index in [0, 1, 2, 17, 18, 3, 3, 40]:
        ours, expected = ahead.batch(index), family.batch(index, tasks)
        assert all(torch.equal(a, b) for a, b in zip(ours.tensors(), expected.tensors(), strict=True))
        ours.support_x.zero_()  # a batch is its receiver's to change
