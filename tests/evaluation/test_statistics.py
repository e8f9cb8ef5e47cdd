import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metaft.errors import MetaftError
from metaft.evaluation.statistics import (
    diverged_errors,
    mean_interval,
    median,
    paired_difference,
    seed_spread,
    student_t95,
    summarise,
    wilson,
)

stats = pytest.importorskip("scipy.stats")
samples = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=40)


@pytest.mark.parametrize("freedom", [*range(1, 40), 199, 200, 201, 599, 3999, 10**6])
def test_quantile_agrees_with_scipy(freedom):
    assert student_t95(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-8)


def test_quantile_closed_forms():
    assert student_t95(1) == pytest.approx(math.tan(0.475 * math.pi))
    assert student_t95(2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)))
    with pytest.raises(MetaftError, match="degree of freedom"):
        student_t95(0)


@settings(deadline=None)
@given(samples)
def test_interval_agrees_with_scipy(values):
    mean, half = mean_interval(values)
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    error = stats.sem(values)
    if error > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        assert half == pytest.approx((high - low) / 2, rel=1e-7)


def test_interval_covers_the_truth_19_times_in_20():
    draws = torch.distributions.Normal(3.0, 2.0).sample
    torch.manual_seed(0)
    hits = [abs(mean - 3) <= half for mean, half in (mean_interval(draws((4,))) for _ in range(2000))]
    # With a normal quantile in place of Student's the share would be about 0.85.
    assert 0.935 < np.mean(hits) < 0.965


@pytest.mark.parametrize(("right", "count"), [(0, 10), (3, 10), (10, 10), (57, 100)])
def test_a_share_has_wilsons_interval(right, count):
    expected = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert wilson(right / count, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_few_values_claim_no_precision():
    assert mean_interval([0.5])[0] == 0.5
    assert math.isnan(mean_interval([0.5])[1])
    assert all(math.isnan(x) for x in mean_interval([]))


def test_diverged_tasks_leave_the_mean_but_not_the_median():
    errors = torch.tensor([1.0, 3.0, 50.0, 50.1, math.inf, math.nan, -math.inf])
    out = diverged_errors(errors)
    assert out.tolist() == [False, False, False, True, True, True, True]
    summary = summarise(errors[:6], out[:6])
    assert (summary.count, summary.diverged) == (3, 3)
    assert summary.mean == pytest.approx(18)
    assert summary.median == pytest.approx((50 + 50.1) / 2)
    assert summary.ci95 == pytest.approx(stats.t.ppf(0.975, 2) * np.std([1, 3, 50], ddof=1) / math.sqrt(3))


def test_all_diverged_has_no_mean():
    errors = torch.tensor([math.nan, math.inf])
    summary = summarise(errors, diverged_errors(errors))
    assert math.isnan(summary.mean)
    assert math.isinf(summary.median)
    assert (summary.count, summary.diverged) == (0, 2)


@settings(deadline=None)
@given(samples)
def test_median_agrees_with_numpy(values):
    assert median(values) == pytest.approx(np.median(values))


@settings(deadline=None)
@given(samples, st.floats(-10, 10))
def test_paired_difference_is_the_paired_t_test(values, shift):
    a = np.asarray(values)
    b = a + shift + np.sin(np.arange(len(a)))
    summary = paired_difference(a, b)
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert summary.mean == pytest.approx((interval.low + interval.high) / 2, abs=1e-9)
    assert summary.ci95 == pytest.approx((interval.high - interval.low) / 2, rel=1e-6)


def test_paired_difference_leaves_out_broken_pairs():
    summary = paired_difference([1.0, 2.0, math.nan, 4.0], [0.0, 0.0, 0.0, math.inf])
    assert (summary.mean, summary.count, summary.diverged) == (1.5, 2, 2)
    with pytest.raises(MetaftError, match="3 and 2"):
        paired_difference([1, 2, 3], [1, 2])


def test_seed_spread():
    spread = seed_spread([0.2, 0.5, 0.8])
    assert (spread.low, spread.high, spread.seeds) == (0.2, 0.8, 3)
    assert spread.mean == pytest.approx(0.5)
    assert spread.std == pytest.approx(0.3)
    assert math.isnan(seed_spread([0.2]).std)
    with pytest.raises(MetaftError, match="at least one"):
        seed_spread([])
