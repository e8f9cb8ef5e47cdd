"""How far a classifier's probabilities can be trusted, how it agrees with its teacher, how much soft labels say."""

from __future__ import annotations

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.tasks.answers import answered

BINS = 15


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> Tensor:
    """ECE: the gap of accuracy and confidence in bins of confidence, weighed by size (Guo et al. 2017, eq. 3).

    Args:
        probabilities: ``[examples, classes]``, each row adding up to 1.
        labels: ``int64 [examples]``.
        bins: equal parts ((m − 1) / M, m / M] of the unit interval; the paper's 15.

    Returns:
        A scalar in [0, 1].

    Raises:
        MetaftError: if there are no examples, or no bins.

    Guo, Pleiss, Sun, Weinberger: On calibration of modern neural networks, ICML 2017.
    """
    if bins < 1 or len(labels) < 1:
        raise MetaftError(f"calibration of {len(labels)} examples in {bins} bins: at least one of each is needed")
    confidence, answer = probabilities.max(-1)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    surplus = (answer == labels).to(confidence.dtype) - confidence
    # A bin's size times its gap is |sum of its surpluses|.
    return confidence.new_zeros(bins).index_add(0, place, surplus).abs().sum() / len(labels)


def agreement(scores: Tensor, teacher_scores: Tensor) -> Tensor:
    """The share of examples to which student and teacher give the same answer, a scalar in [0, 1].

    Scores that hold NaN or +inf are no answer, and agree with nothing.

    Args:
        scores: ``[examples, classes]``.
        teacher_scores: like ``scores``.

    Raises:
        MetaftError: if the shapes differ.
    """
    if scores.shape != teacher_scores.shape:
        raise MetaftError(f"answers of shape {list(scores.shape)} cannot agree with {list(teacher_scores.shape)}")
    (own, unanswered), (taught, unanswered_too) = answered(scores), answered(teacher_scores)
    return ((own == taught) & ~(unanswered | unanswered_too)).to(torch.float64).mean()


def entropy(probabilities: Tensor) -> Tensor:
    """The entropy of each example's soft label, in nats: 0 for a hard one, ln(classes) for one that says nothing.

    Args:
        probabilities: ``[..., classes]``.

    Returns:
        ``[...]``.
    """
    return -torch.special.xlogy(probabilities, probabilities).sum(-1)


def mean_entropy(probabilities: Tensor) -> Tensor:
    """The mean :func:`entropy` over all examples, a scalar in nats."""
    return entropy(probabilities).mean()
