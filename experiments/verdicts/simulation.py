"""Pairs of equal methods, drawn: how often an interval of their difference excludes 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaft.evaluation.difference import Spreading, difference, half_width
from metaft.evaluation.statistics import student_t95

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Two methods with the same mean score.

    Args:
        seeds: of the first and of the second; 0 for one without randomness.
        tasks: the same for both.
        deviations: standard deviation between seeds of each, in points.
        residuals: standard deviation of a seed on a task, beside all else, of each.
        by_task: standard deviation over tasks of the difference of the methods themselves.
    """

    seeds: tuple[int, int]
    tasks: int
    deviations: tuple[float, float]
    residuals: tuple[float, float] = (5.0, 5.0)
    by_task: float = 0.0


@dataclass(frozen=True)
class Drawn:
    """What an interval is made from, of many pairs.

    Args:
        gap: difference of the two means.
        of_weights: what it would be over all tasks, for the seeds drawn.
        variance: over tasks, of each task's difference of means over seeds, divided by the tasks.
        spreads: by learner with several seeds: variance of its mean, degrees of freedom, interaction.
        true: the variance of ``gap``.
    """

    gap: Vector
    of_weights: Vector
    variance: Vector
    spreads: tuple[tuple[Vector, int, Vector], ...]
    true: float


def draw(layout: Layout, pairs: int, rng: np.random.Generator) -> Drawn:
    """Draw pairs of equal methods.

    In a balanced layout of normal effects the mean squares are independent of each other and of the means, and follow
    χ² distributions (Scheffé: The analysis of variance, 1959, ch. 7): they are drawn in place of whole matrices.

    Args:
        layout: of the two methods.
        pairs: how many.
        rng: draws them.

    Returns:
        The pairs.
    """
    tasks = layout.tasks
    chi2 = lambda freedom: rng.chisquare(freedom, pairs) / freedom
    spreads, of_weights, interaction, over_seeds = [], np.zeros(pairs), 0.0, 0.0
    for count, deviation, residual in zip(layout.seeds, layout.deviations, layout.residuals, strict=True):
        if count == 0:
            continue
        interaction += residual**2 / count
        over_seeds += deviation**2 / count
        of_weights = of_weights + rng.normal(0, deviation / math.sqrt(count), pairs)
        if count > 1:
            seeds = (deviation**2 + residual**2 / tasks) * chi2(count - 1) / count
            crossed = residual**2 * chi2((count - 1) * (tasks - 1)) / (count * tasks)
            spreads.append((seeds, count - 1, crossed))
    over_tasks = (layout.by_task**2 + interaction) / tasks
    gap = of_weights + rng.normal(0, math.sqrt(over_tasks), pairs)
    return Drawn(gap, of_weights, over_tasks * chi2(tasks - 1), tuple(spreads), over_seeds + over_tasks)


def ours(drawn: Drawn, tasks: int) -> Vector:
    """Half widths as `metaft.evaluation.difference` makes them."""
    spreads = lambda n: [Spreading(float(seed[n]), freedom, float(both[n])) for seed, freedom, both in drawn.spreads]
    return np.array([half_width(half, tasks, spreads(n)) for n, half in enumerate(tasks_alone(drawn, tasks).tolist())])


def tasks_alone(drawn: Drawn, tasks: int) -> Vector:
    """The paired t-test over tasks of means over seeds, as it was before."""
    return np.asarray(student_t95(tasks - 1) * np.sqrt(drawn.variance))


def one_freedom(drawn: Drawn, tasks: int) -> Vector:
    """The sum of the components with one number of degrees of freedom after Satterthwaite."""
    seeds = sum(part[0] for part in drawn.spreads)
    crossed = sum(part[2] for part in drawn.spreads)
    total = np.maximum(drawn.variance + seeds - crossed, 1e-12)
    below = drawn.variance**2 / (tasks - 1)
    for variance, freedom, interaction in drawn.spreads:
        below = below + variance**2 / freedom + interaction**2 / (freedom * (tasks - 1))
    freedoms = np.maximum(total**2 / below, 1)
    return np.sqrt(total) * np.array([student_t95(round(freedom, 2)) for freedom in freedoms.tolist()])


Form = Callable[[Drawn, int], Vector]
FORMS: dict[str, Form] = {"ours": ours, "tasks alone": tasks_alone, "one freedom": one_freedom}


def rates(layout: Layout, pairs: int, rng: np.random.Generator, forms: Sequence[str] = tuple(FORMS)) -> dict[str, Any]:
    """How often each form tells two equal methods apart.

    Args:
        layout: of the two methods.
        pairs: how many to draw.
        rng: draws them.
        forms: names of `FORMS`.

    Returns:
        By form: ``false``, the share told apart; ``wide``, the median half width over that of the known variance;
        ``missed``, the share whose interval misses the difference of the weights drawn.
    """
    drawn = draw(layout, pairs, rng)
    found = {}
    for name in forms:
        half = FORMS[name](drawn, layout.tasks)
        found[name] = {
            "false": round(float((np.abs(drawn.gap) > half).mean()), 5),
            "wide": round(float(np.median(half)) / (1.959964 * math.sqrt(drawn.true)), 3),
            "missed": round(float((np.abs(drawn.gap - drawn.of_weights) > half).mean()), 5),
        }
    return found


def whole_matrices(
    seeds: tuple[int, int], tasks: int, deviation: float, pairs: int, rng: np.random.Generator, queries: int = 50
) -> float:
    """The share of equal methods told apart, from accuracies of whole tasks: counts of right answers, not normal.

    Args:
        seeds: of the first and the second method.
        tasks: the same for both.
        deviation: between seeds, in points.
        pairs: how many to draw.
        rng: draws them.
        queries: a task's.

    Returns:
        The share.
    """
    told = 0
    for _ in range(pairs):
        hard = rng.normal(0.85, 0.07, tasks)
        rates = (np.clip(hard + rng.normal(0, deviation / 100, (count, 1)), 0, 1) for count in seeds)
        first, second = (rng.binomial(queries, rate) / queries for rate in rates)
        told += difference(first, second).verdict(True) != ""
    return told / pairs
