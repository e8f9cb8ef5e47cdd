"""Variance components against closed forms, and intervals against what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from metaft.evaluation.statistics import mean_interval, student_t95
from metaft.evaluation.variance_components import components, half_width, over_strata

A, B, C = np.array([1.0, 4.0, -2.0, 0.5]), np.array([0.0, 3.0, 1.0]), np.array([2.0, -1.0])
NAMES = ("a", "b", "c")


def found(values: np.ndarray) -> dict[str, float]:
    return {"".join(one.factors): one.variance for one in components(values, NAMES)}


def test_of_a_sum_each_factor_has_its_own_variance() -> None:
    values = A[:, None, None] + B[:, None] + C + 7
    expected = {"a": A.var(ddof=1), "b": B.var(ddof=1), "c": C.var(ddof=1), "ab": 0, "ac": 0, "bc": 0, "abc": 0}
    assert found(values) == pytest.approx(expected, abs=1e-9)
    assert [one.freedom for one in components(values, NAMES)] == [3, 2, 1, 6, 3, 2, 6]


def test_of_a_product_nothing_but_the_interaction_is_left_and_estimates_fall_below_0() -> None:
    centred = [x - x.mean() for x in (A, B, C)]
    values = centred[0][:, None, None] * centred[1][:, None] * centred[2]
    square = float(np.prod([(x**2).sum() for x in centred]) / (3 * 2 * 1))
    expected = {"a": square / 6, "b": square / 8, "c": square / 12,
                "ab": -square / 2, "ac": -square / 3, "bc": -square / 4, "abc": square}  # fmt: skip
    assert found(values) == pytest.approx(expected)


def test_two_factors_as_in_the_textbook() -> None:
    """Mean squares of the two-way layout written out: σ²_a = (MS_a − MS_ab) / b."""
    values = np.random.default_rng(0).normal(size=(4, 5))
    rows, columns = values.mean(1), values.mean(0)
    left = values - rows[:, None] - columns + values.mean()
    square = (left**2).sum() / 12
    assert found(values[..., None]) == pytest.approx(
        {"a": rows.var(ddof=1) - square / 5, "b": columns.var(ddof=1) - square / 4, "ab": square}
    )
    assert found(values[:, :1, None]) == pytest.approx({"a": values[:, 0].var(ddof=1)})
    assert components(values[:1, :1], NAMES) == []


def test_estimates_are_right_on_the_mean_and_intervals_hold_the_truth() -> None:
    draw, true = np.random.default_rng(1), {"a": 2.0, "b": 0.5, "c": 0.0, "ac": 1.0}
    shape, sums, held = (6, 4, 5), dict[str, float](), 0
    for _ in range(800):
        values = draw.normal(size=shape)
        for name, variance in true.items():
            own = [size if factor in name else 1 for factor, size in zip(NAMES, shape, strict=True)]
            values = values + variance**0.5 * draw.normal(size=own)
        for name, variance in found(values).items():
            sums[name] = sums.get(name, 0) + variance / 800
        held += abs(values.mean()) <= half_width(values)
    assert sums == pytest.approx({"abc": 1.0, "ab": 0.0, "bc": 0.0, **true}, abs=0.15)
    assert 0.94 <= held / 800 <= 0.995


def test_an_interval_of_one_factor_is_students() -> None:
    assert half_width(A) == pytest.approx(mean_interval(A)[1])
    assert half_width(A[None, :, None]) == pytest.approx(mean_interval(A)[1])
    assert np.isnan(half_width(A[:1]))


def test_an_interval_over_strata_holds_no_difference_between_classes() -> None:
    values, labels = np.array([1.0, 1.0, 1.0, 0.0, 0.0]), (0, 0, 0, 1, 1)
    assert over_strata(values, labels) == 0
    values = np.array([1.0, 0.0, 1.0, 0.0])
    assert over_strata(values, (0, 0, 1, 1)) == pytest.approx(student_t95(2) * (2 * 2 * 0.5 / 16) ** 0.5)
    assert over_strata(values, (0, 0, 0, 1)) == pytest.approx(mean_interval(values)[1])
