"""What a learner answers after its last inner step."""

from __future__ import annotations

import torch
from torch import Tensor

from metaft.learners.learner import Learner
from metaft.outer.chunks import bounded_size, map_chunks
from metaft.tasks.batch import TaskBatch


def last_answers(learner: Learner, batch: TaskBatch) -> Tensor:
    """Predictions after the last inner step alone.

    Args:
        learner: adapts and answers.
        batch: the tasks, divided among the learner's workers.

    Returns:
        ``[1, tasks, queries, outputs]``.
    """
    if batch.ragged:
        # A predictor is not told which queries are padding (they would enter a transductive learner's statistics),
        # and one that has seen a few tasks alone does not know of the ways that others have.
        return learner.curve(batch)[-1:]

    def answers(chunk: TaskBatch) -> Tensor:
        return learner.adapt(chunk.support_x, chunk.support_y)(chunk.query_x)

    adapts = learner.describe().get("adapts", 0)
    size = bounded_size(batch, adapts if isinstance(adapts, int) else 0)
    return torch.cat(map_chunks(answers, batch, getattr(learner, "workers", 1), size)).unsqueeze(0)
