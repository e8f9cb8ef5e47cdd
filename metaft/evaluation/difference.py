"""The difference of two learners on the same tasks, with an interval over tasks and, where there are several, seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metaft.errors import MetaftError
from metaft.evaluation.statistics import Summary, mean_interval, median, student_t95

METHOD, WEIGHTS = "the method", "these weights"
TASKS, BOTH = "tasks", "tasks and seeds"
ROUNDING = 1e-12
"""Differences up to which two learners' scores are the same: means over seeds are rounded."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Difference(Summary):
    """A difference of two mean scores, and what its interval says.

    Args:
        mean: of the first minus the second.
        ci95: half width of the 95% interval; NaN where it cannot be known.
        median: over tasks, of the difference of each task's means over seeds.
        count: how many tasks both were scored on.
        diverged: how many tasks were left out, a score of either being no number.
        ranges_over: "tasks and seeds", or "tasks" where no learner has several seeds.
        about: "the method", or "these weights" where a learner that has randomness was given with one seed: other
            seeds may differ by more than the interval says.
        seeds: how many of the first, and of the second.
        paired: whether seed s of the first was held against seed s of the second.
    """

    ranges_over: str = TASKS
    about: str = WEIGHTS
    seeds: tuple[int, int] = (1, 1)
    paired: bool = False

    def verdict(self, higher_is_better: bool) -> str:
        """Whether the first is "better" or "worse" than the second; "" where the interval holds 0, or is not known."""
        if not abs(self.mean) > self.ci95 + ROUNDING:
            return ""
        return "better" if (self.mean > 0) == higher_is_better else "worse"


class Spreading(NamedTuple):
    """What several seeds say of a mean over them.

    Args:
        variance: of that mean, the seeds' means being draws: (σ²_seed + σ²_seed·task / T) / S.
        freedom: degrees of freedom of that estimate.
        interaction: the part σ²_seed·task / (S·T) of it.
    """

    variance: float
    freedom: int
    interaction: float


def difference(
    first: Tensor | Iterable[Iterable[float]],
    second: Tensor | Iterable[Iterable[float]],
    *,
    deterministic: tuple[bool, bool] = (False, False),
    paired_seeds: bool = False,
) -> Difference:
    """Mean of ``first − second`` on the same tasks, with a 95% interval over tasks and seeds.

    Tasks and seeds are both draws (a two-way layout with random effects, the seeds of two learners being independent):
    the variance of the difference is σ²_task / T + Σ (σ²_seed + σ²_seed·task / T) / S, a sum over the learners with
    several seeds. Each of the two terms is given Student's factor of its own degrees of freedom::

        half² = t²(T − 1) · max(0, s² − Σ MS) / T + t²(ν) · Σ v

    with s² the variance over tasks of the differences of each task's means over seeds; MS a learner's interaction mean
    square over its seeds; v the variance of a learner's seeds' means over S; and ν after Satterthwaite,
    (Σ v)² / Σ (v² / (S − 1)). Where the learners differ in their number of seeds, each v has its own factor
    t²(S − 1) instead. One number ν for tasks and seeds together would be wrong: where two seeds lie close by chance it
    comes out near T − 1, and of two equal methods up to one pair in six would be told apart (results/statistics.md).

    Args:
        first: ``[seeds, tasks]`` scores of one learner, or ``[tasks]`` of one seed.
        second: ``[seeds', tasks]`` of another, task by task the same.
        deterministic: whether the learners have no randomness at all, so that one seed stands for all.
        paired_seeds: hold seed s against seed s, for learners that share what a seed stands for, such as the
            pretrained network; the number of seeds must be the same.

    Returns:
        The difference. A task with a score that is not finite in any row is left out of all, and counted.

    Raises:
        MetaftError: if the numbers of tasks differ, or of seeds that are to be paired.

    Satterthwaite: An approximate distribution of estimates of variance components, Biometrics Bulletin 2 (1946).
    Banerjee: Approximate confidence interval for linear functions of means of k populations when the population
    variances are not equal, Sankhyā 22 (1960): a factor for every term never gives a false rate above 5%.
    """
    one, other = _matrix(first), _matrix(second)
    if one.shape[1] != other.shape[1]:
        raise MetaftError(
            f"a paired difference needs the same tasks, got {one.shape[1]} and {other.shape[1]} scores a seed"
        )
    if paired_seeds and len(one) != len(other):
        raise MetaftError(f"seeds can be paired where both have as many, got {len(one)} and {len(other)}")
    keep = np.isfinite(one).all(0) & np.isfinite(other).all(0)
    one, other = one[:, keep], other[:, keep]
    counts = (len(one), len(other))
    gaps = one.mean(0) - other.mean(0)
    mean, over_tasks = mean_interval(gaps)
    parts = [one - other] if paired_seeds else [one, other]
    spreads = [spreading(part) for part in parts if len(part) > 1 and part.shape[1]]
    single = [len(part) == 1 and not known for part, known in zip((one, other), deterministic, strict=True)]
    return Difference(
        mean=mean,
        ci95=half_width(over_tasks, len(gaps), spreads),
        median=median(gaps),
        count=int(keep.sum()),
        diverged=int((~keep).sum()),
        ranges_over=BOTH if max(counts) > 1 else TASKS,
        about=WEIGHTS if any(single) else METHOD,
        seeds=counts,
        paired=paired_seeds and counts[0] > 1,
    )


def spreading(scores: Matrix) -> Spreading:
    """What several seeds say of the mean over them.

    Args:
        scores: ``[seeds, tasks]``, at least two seeds and one task, finite.

    Returns:
        The spread of the seeds' means; without interaction where there is one task.
    """
    seeds, tasks = scores.shape
    variance = float(scores.mean(1).var(ddof=1)) / seeds
    if tasks == 1:
        return Spreading(variance, seeds - 1, 0.0)
    left = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
    square = float((left**2).sum()) / ((seeds - 1) * (tasks - 1))
    return Spreading(variance, seeds - 1, square / (seeds * tasks))


def half_width(over_tasks: float, tasks: int, spreads: Iterable[Spreading]) -> float:
    """Half width of the 95% interval of a difference, from that over tasks alone and what the seeds say.

    Args:
        over_tasks: half width of the interval over tasks, of each task's difference of means over seeds.
        tasks: how many there are.
        spreads: of the learners that have several seeds; an interaction that is not known is 0, and the result is
            then at least as wide as it should be.

    Returns:
        The half width; NaN where that over tasks is.
    """
    several = list(spreads)
    if tasks < 2 or not math.isfinite(over_tasks):
        return math.nan
    shared = sum(spread.interaction for spread in several)
    of_tasks = max(0.0, over_tasks**2 - student_t95(tasks - 1) ** 2 * shared)
    return math.sqrt(of_tasks + _square_over_seeds(several))


def _square_over_seeds(spreads: list[Spreading]) -> float:
    total = sum(spread.variance for spread in spreads)
    if total == 0:
        return 0.0
    if len({spread.freedom for spread in spreads}) > 1:
        return sum(student_t95(spread.freedom) ** 2 * spread.variance for spread in spreads)
    freedom = 1 / sum((spread.variance / total) ** 2 / spread.freedom for spread in spreads)
    return student_t95(freedom) ** 2 * total


def _matrix(values: Tensor | Iterable[Iterable[float]]) -> Matrix:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
    return np.atleast_2d(array)
