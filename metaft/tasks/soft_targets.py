"""Query targets that carry a teacher's scores beside the label, so that a TaskBatch needs no fifth tensor."""

from __future__ import annotations

import torch
from torch import Tensor


def packed(scores: Tensor, labels: Tensor) -> Tensor:
    """Scores and labels as one tensor of targets.

    Args:
        scores: a teacher's, ``[..., outputs]``.
        labels: ``int64 [...]``; ``IGNORE`` marks padding.

    Returns:
        ``[..., outputs + 1]`` of the scores' precision, the label last: exact up to 2^24 classes.
    """
    return torch.cat([scores, labels.unsqueeze(-1).to(scores.dtype)], dim=-1)


def unpacked(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Scores ``[..., outputs]`` and labels ``int64 [...]`` of packed targets ``[..., outputs + 1]``."""
    return targets[..., :-1], targets[..., -1].long()


def labels_of(targets: Tensor) -> Tensor:
    """The labels ``int64 [...]`` of classification targets: labels as they are, or those of packed ones."""
    return unpacked(targets)[1] if targets.is_floating_point() else targets
