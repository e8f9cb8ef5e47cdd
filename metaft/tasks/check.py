"""Tasks that no learner can be judged on are refused, by number."""

from __future__ import annotations

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.tasks.batch import FIELDS, IGNORE, TaskBatch


def require_sound(batch: TaskBatch, first: int = 0) -> None:
    """Refuse tasks with values that are not finite, or with fewer than two classes to tell apart.

    Args:
        batch: the tasks.
        first: the number of the batch's first task, for the message.

    Raises:
        MetaftError: naming the first such task and what is wrong with it.
    """
    for name, values in zip(FIELDS, batch.tensors(), strict=True):
        if values.is_floating_point():
            bad = ~values.isfinite().flatten(1).all(1)
            if bad.any():
                raise MetaftError(f"task {_number(bad, first)}: its {name} has NaN or infinite values; mend the data")
    labels = batch.support_y
    if labels.is_floating_point():
        return
    lowest = labels.masked_fill(labels == IGNORE, torch.iinfo(labels.dtype).max).amin(1)
    single = labels.amax(1) <= lowest
    if single.any():
        raise MetaftError(
            f"task {_number(single, first)}: its support set has examples of fewer than two classes; "
            "a task needs at least two to tell apart"
        )


def _number(bad: Tensor, first: int) -> int:
    return first + int(bad.nonzero()[0, 0])
