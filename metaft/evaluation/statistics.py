"""Means over tasks with their interval, spread over seeds, paired differences, diverged tasks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaft.errors import MetaftError

DIVERGED_ABOVE = 50.0
"""A regression task whose mean squared error exceeds this after adapting counts as diverged."""

NORMAL95 = 1.959963984540054
"""The 97.5% quantile of the normal distribution."""


@dataclass(frozen=True)
class Summary:
    """What is said about one number per task.

    Args:
        mean: over the tasks that count; NaN when there are none.
        ci95: half width of the 95% interval of that mean; NaN with fewer than two tasks.
        median: over *all* tasks, a diverged one counting as infinitely bad where its value is not finite.
        count: how many tasks the mean is taken over.
        diverged: how many tasks diverged.
    """

    mean: float
    ci95: float
    median: float
    count: int
    diverged: int = 0


@dataclass(frozen=True)
class Spread:
    """How a score varies over seeds.

    Args:
        mean: over seeds.
        low: the smallest.
        high: the largest.
        std: sample standard deviation (n − 1); NaN for a single seed.
        seeds: how many there are.
    """

    mean: float
    low: float
    high: float
    std: float
    seeds: int


def mean_interval(values: Tensor | Iterable[float]) -> tuple[float, float]:
    """Mean and half width of its 95% interval, by Student's t with n − 1 degrees of freedom.

    Args:
        values: ``[tasks]``, finite.

    Returns:
        ``(mean, half width)``; the half width is NaN for one value, both are NaN for none.
    """
    x = _vector(values)
    if x.size == 0:
        return math.nan, math.nan
    if x.size == 1:
        return float(x[0]), math.nan
    return float(x.mean()), student_t95(x.size - 1) * float(x.std(ddof=1)) / math.sqrt(x.size)


def summarise(values: Tensor | Iterable[float], diverged: Tensor | None = None) -> Summary:
    """Mean with interval, median and count of one number per task.

    Args:
        values: ``[tasks]``.
        diverged: ``bool [tasks]``, tasks left out of the mean and counted apart; none by default.

    Returns:
        The summary.
    """
    x = _vector(values)
    out = np.zeros(x.size, dtype=bool) if diverged is None else diverged.cpu().numpy().astype(bool)
    mean, ci95 = mean_interval(x[~out])
    # Leaving diverged tasks out of the median as well would reward a learner for failing on hard tasks.
    return Summary(mean, ci95, median(np.nan_to_num(x, nan=math.inf)), int((~out).sum()), int(out.sum()))


def diverged_errors(errors: Tensor) -> Tensor:
    """Which tasks diverged: error above `DIVERGED_ABOVE`, or not a finite number.

    Args:
        errors: ``[...]`` mean squared error per task.

    Returns:
        ``bool [...]``.
    """
    return ~(torch.isfinite(errors) & (errors <= DIVERGED_ABOVE))


def median(values: Tensor | Iterable[float]) -> float:
    """The middle value, or the mean of the middle two; infinite values are allowed.

    Args:
        values: ``[n]``.

    Returns:
        The median; NaN for no values.
    """
    x = np.sort(_vector(values))
    if x.size == 0:
        return math.nan
    low, high = float(x[(x.size - 1) // 2]), float(x[x.size // 2])
    return low if low == high else (low + high) / 2


def seed_spread(scores: Sequence[float]) -> Spread:
    """Minimum, maximum and standard deviation of one score per seed.

    Args:
        scores: one mean score a seed.

    Returns:
        The spread.

    Raises:
        MetaftError: if there is no score.
    """
    x = _vector(scores)
    if x.size == 0:
        raise MetaftError("a spread over seeds needs at least one score, got none")
    std = float(x.std(ddof=1)) if x.size > 1 else math.nan
    return Spread(float(x.mean()), float(x.min()), float(x.max()), std, x.size)


def paired_difference(first: Tensor | Iterable[float], second: Tensor | Iterable[float]) -> Summary:
    """Mean of ``first − second`` on the *same* tasks, with its 95% interval (paired Student's t).

    The tasks' own difficulty cancels, so the interval is far narrower than that of two separate means. It ranges over
    tasks alone and says nothing about other seeds; `metaft.evaluation.difference` ranges over both.

    Args:
        first: ``[tasks]`` scores of one learner.
        second: ``[tasks]`` scores of another, task by task.

    Returns:
        The summary; a pair in which either value is not finite is counted as diverged and left out.

    Raises:
        MetaftError: if the lengths differ.
    """
    a, b = _vector(first), _vector(second)
    if a.size != b.size:
        raise MetaftError(f"a paired difference needs the same tasks, got {a.size} and {b.size} scores")
    keep = np.isfinite(a) & np.isfinite(b)
    gap = a[keep] - b[keep]
    mean, ci95 = mean_interval(gap)
    return Summary(mean, ci95, median(gap), int(keep.sum()), int((~keep).sum()))


@lru_cache(maxsize=1024)
def student_t95(freedom: float) -> float:
    """The 97.5% quantile of Student's t: the factor of a two-sided 95% interval.

    Args:
        freedom: degrees of freedom, at least 1, not always whole.

    Returns:
        The quantile.

    Raises:
        MetaftError: if `freedom` is below 1.
    """
    from scipy.special import stdtrit

    if not freedom >= 1:
        raise MetaftError(f"Student's t needs at least 1 degree of freedom, got {freedom}")
    return float(stdtrit(freedom, 0.975))


def wilson(mean: float, count: float, z: float = NORMAL95) -> tuple[float, float]:
    """Wilson's interval of a share, which is not empty where all are right or none (Wilson 1927).

    Args:
        mean: the share, in [0, 1].
        count: how many independent ones it is of, not always whole.
        z: the quantile; that of a 95% interval of the normal distribution by default.

    Returns:
        Its lower and its upper end.
    """
    middle = mean + z**2 / (2 * count)
    half = z * math.sqrt(mean * (1 - mean) / count + z**2 / (4 * count**2))
    low, high = ((middle + sign * half) / (1 + z**2 / count) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def _vector(values: Tensor | Iterable[float]) -> NDArray[np.float64]:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
    return array.reshape(-1)
