"""Task losses: a mean over the examples of one task."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from metaft.tasks.batch import IGNORE


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy; ``[examples, ways]`` scores against int64 ``[examples]`` labels, padding left out."""
    return F.cross_entropy(prediction, target, ignore_index=IGNORE)


def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error; ``[examples, outputs]`` against ``[examples, outputs]``."""
    return F.mse_loss(prediction, target)
