"""Where the variance of a score comes from: a balanced layout of crossed factors, all of whose levels are draws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metaft.evaluation.statistics import student_t95

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Component:
    """What one factor, or several together, add to the variance of a cell.

    Args:
        factors: their names.
        square: the mean square.
        freedom: its degrees of freedom.
        variance: the estimate, which is negative where chance hides it.
    """

    factors: tuple[str, ...]
    square: float
    freedom: int
    variance: float


def components(values: Values, names: Sequence[str]) -> list[Component]:
    """The variance components of a balanced layout with one value a cell, by the analysis of variance.

    The mean square of some factors A has the expectation Σ σ²_B · n / Π_{b ∈ B} L_b over all B ⊇ A, with n values and
    L_b levels of b. These equations are solved. The component of all factors together holds what is left to chance.

    Cornfield & Tukey 1956, "Average values of mean squares in factorials", Annals of Mathematical Statistics 27;
    Searle, Casella & McCulloch 1992, "Variance components", §4.3.

    Args:
        values: an axis a factor.
        names: of the factors.

    Returns:
        One for each factor with two levels or more, and for each set of such factors; the small sets first.
    """
    axes = [axis for axis, levels in enumerate(values.shape) if levels > 1]
    sets = [subset for size in range(1, len(axes) + 1) for subset in itertools.combinations(axes, size)]
    means = {some: _mean_over(values, some) for some in [(), *sets]}
    squares, freedoms, each = {}, {}, {}
    for some in sets:
        levels = [values.shape[axis] for axis in some]
        inside = [part for size in range(len(some) + 1) for part in itertools.combinations(some, size)]
        effect = sum(((-1) ** (len(some) - len(part)) * means[part] for part in inside), start=np.zeros(()))
        each[some] = values.size / math.prod(levels)
        freedoms[some] = math.prod(count - 1 for count in levels)
        squares[some] = float(each[some] * (effect**2).sum()) / freedoms[some]
    return [
        Component(
            tuple(names[axis] for axis in some),
            squares[some],
            freedoms[some],
            sum((-1) ** (len(other) - len(some)) * squares[other] for other in sets if set(some) <= set(other))
            / each[some],
        )
        for some in sets
    ]


def half_width(values: Values) -> float:
    """Half width of the 95% interval of the mean of a balanced layout, the levels of all factors being draws.

    A factor whose mean square exceeds that of all interactions together moves the mean from draw to draw. Each such
    excess has Student's factor of its own degrees of freedom, as in `metaft.evaluation.difference`::

        half² = Σ t²(L − 1) · max(0, MS − MS_rest) / n + t²(ν_rest) · MS_rest / n

    Values of one cell after another are no independent draws: an interval that took them so would be too narrow.

    Args:
        values: an axis a factor.

    Returns:
        The half width; NaN for one value.
    """
    found = components(values, [str(axis) for axis in range(values.ndim)])
    if not found:
        return math.nan
    main, rest = ([one for one in found if (len(one.factors) == 1) is single] for single in (True, False))
    freedom = sum(one.freedom for one in rest)
    left = sum(one.square * one.freedom for one in rest) / freedom if freedom else 0.0
    square = sum(student_t95(one.freedom) ** 2 * max(0.0, one.square - left) for one in main)
    square += student_t95(freedom) ** 2 * left if freedom else 0.0
    return math.sqrt(square / values.size)


def over_strata(values: Values, labels: Sequence[int]) -> float:
    """Half width of the 95% interval of a mean, so many values of each class being drawn, and classes not.

    Cochran 1977, "Sampling techniques", eq. 5.9: half² = t²(n − C) Σ_c (n_c / n)² s_c² / n_c.

    Args:
        values: ``[n]``.
        labels: the class of each, of C.

    Returns:
        The half width; that without classes where one of them has a single value.
    """
    parts = [values[np.array(labels) == label] for label in sorted(set(labels))]
    if min(map(len, parts)) < 2:
        return half_width(values)
    square = sum(len(part) * float(part.var(ddof=1)) for part in parts) / len(values) ** 2
    return student_t95(len(values) - len(parts)) * math.sqrt(square)


def _mean_over(values: Values, kept: tuple[int, ...]) -> Values:
    """The mean over all axes but some, with as many axes."""
    away = tuple(axis for axis in range(values.ndim) if axis not in kept)
    return values.mean(axis=away, keepdims=True) if away else values
