from __future__ import annotations

import contextlib
import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats

import metaft
from metaft.errors import MetaftError
from metaft.evaluation.comparison_report import note, table_rows
from metaft.evaluation.difference import BOTH, METHOD, TASKS, WEIGHTS, Spreading, difference, half_width, spreading
from metaft.evaluation.peak_memory import Peak
from metaft.learners import NearestNeighbour
from tests.evaluation.toys import Blobs


def drawn(rng: np.random.Generator, seeds: int, tasks: int, deviation: float, residual: float = 5.0) -> np.ndarray:
    """Scores of one method, without what makes a task hard for all."""
    return deviation * rng.standard_normal((seeds, 1)) + residual * rng.standard_normal((seeds, tasks))


def test_the_interval_is_that_of_a_two_way_layout_written_out() -> None:
    rng = np.random.default_rng(0)
    one, other = drawn(rng, 3, 12, 2.0) + 70, drawn(rng, 3, 12, 0.3) + 69
    found = difference(torch.tensor(one), torch.tensor(other))
    seeds_part, weights, between = 0.0, [], 0.0
    for scores in (one, other):
        mean_square = sum(
            (scores[s, t] - scores[s].mean() - scores[:, t].mean() + scores.mean()) ** 2
            for s in range(3)
            for t in range(12)
        ) / (2 * 11)
        weights.append(np.var([row.mean() for row in scores], ddof=1) / 3)
        between += mean_square / 3
    gaps = one.mean(0) - other.mean(0)
    freedom = sum(weights) ** 2 / sum(w**2 / 2 for w in weights)
    tasks_part = max(0.0, np.var(gaps, ddof=1) - between) / 12
    seeds_part = stats.t.ppf(0.975, freedom) ** 2 * sum(weights)
    half = math.sqrt(stats.t.ppf(0.975, 11) ** 2 * tasks_part + seeds_part)
    assert found.mean == pytest.approx(gaps.mean())
    assert found.ci95 == pytest.approx(half)
    assert (found.ranges_over, found.about, found.seeds, found.count) == (BOTH, METHOD, (3, 3), 12)


def test_one_seed_is_the_paired_t_test_and_speaks_of_these_weights() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.random(40), rng.random(40)
    found = difference(one, other)
    interval = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert (found.mean - found.ci95, found.mean + found.ci95) == pytest.approx((interval.low, interval.high))
    assert (found.ranges_over, found.about) == (TASKS, WEIGHTS)


def test_equal_scores_of_several_seeds_are_no_difference_though_their_mean_is_rounded() -> None:
    equal = difference(np.full((1, 5), 0.1), np.full((1, 5), 0.1))
    rounded = dataclasses.replace(equal, mean=2.3e-17, ci95=0.0)
    assert rounded.verdict(True) == rounded.verdict(False) == ""
    assert dataclasses.replace(rounded, mean=0.001).verdict(True) == "better"


@pytest.mark.parametrize(
    ("seeds", "deterministic", "about"),
    [((3, 1), (False, True), METHOD), ((3, 1), (False, False), WEIGHTS), ((1, 1), (True, True), METHOD),
     ((1, 1), (True, False), WEIGHTS), ((1, 2), (False, False), WEIGHTS), ((2, 3), (False, False), METHOD)],
)  # fmt: skip
def test_what_a_verdict_is_of(seeds: tuple[int, int], deterministic: tuple[bool, bool], about: str) -> None:
    rng = np.random.default_rng(2)
    found = difference(*(drawn(rng, count, 30, 1.0) for count in seeds), deterministic=deterministic)
    assert found.about == about
    assert found.ranges_over == (TASKS if seeds == (1, 1) else BOTH)


def test_a_deterministic_learner_adds_no_spread_of_its_own() -> None:
    rng = np.random.default_rng(3)
    one, fixed = drawn(rng, 4, 50, 1.0), drawn(rng, 1, 50, 0.0)
    found = difference(one, fixed, deterministic=(False, True))
    spread = spreading(one)
    assert spread.freedom == 3
    over_tasks = stats.t.ppf(0.975, 49) * np.std(one.mean(0) - fixed[0], ddof=1) / math.sqrt(50)
    assert found.ci95 == pytest.approx(half_width(over_tasks, 50, [spread]))


def test_where_numbers_of_seeds_differ_each_learner_has_its_own_factor() -> None:
    found = half_width(0.0, 100, [Spreading(0.5, 1, 0.0), Spreading(0.2, 9, 0.0)])
    expected = stats.t.ppf(0.975, 1) ** 2 * 0.5 + stats.t.ppf(0.975, 9) ** 2 * 0.2
    assert found == pytest.approx(math.sqrt(expected))


def test_seeds_without_spread_leave_the_interval_over_tasks() -> None:
    one, other = np.random.default_rng(4).random((2, 60))
    found = difference([one] * 3, [other] * 2)
    assert found.ci95 == pytest.approx(difference(one, other).ci95)


@pytest.mark.parametrize("deviation", [0.0, 0.5, 1.8])
@pytest.mark.parametrize("seeds", [(2, 2), (3, 3), (2, 5)])
def test_equal_methods_are_told_apart_in_one_pair_of_twenty_at_most(seeds: tuple[int, int], deviation: float) -> None:
    rng = np.random.default_rng(5)
    told, old, pairs = 0, 0, 250
    for _ in range(pairs):
        one, other = (drawn(rng, count, 100, deviation) for count in seeds)
        told += difference(one, other).verdict(True) != ""
        old += difference(one.mean(0), other.mean(0)).verdict(True) != ""
    assert told / pairs < 0.08, "5% and what chance adds to it in 250 pairs"
    assert old / pairs > {0.0: 0.01, 0.5: 0.08, 1.8: 0.4}[deviation], "the interval over tasks alone"


def test_a_true_difference_is_found() -> None:
    rng = np.random.default_rng(6)
    found = [difference(drawn(rng, 5, 300, 0.5) + 2, drawn(rng, 5, 300, 0.5)).verdict(True) for _ in range(100)]
    assert found.count("better") > 95
    assert difference(drawn(rng, 5, 300, 0.5) + 2, drawn(rng, 5, 300, 0.5)).verdict(False) == "worse"


def test_seeds_that_share_a_start_can_be_paired() -> None:
    rng = np.random.default_rng(7)
    shared = drawn(rng, 4, 80, 3.0)
    one, other = shared + 1 + 0.1 * rng.standard_normal((4, 80)), shared
    apart, paired = difference(one, other), difference(one, other, paired_seeds=True)
    assert (apart.paired, paired.paired) == (False, True)
    assert paired.mean == pytest.approx(apart.mean)
    assert paired.ci95 < apart.ci95 / 10
    spread = spreading(one - other)
    over_tasks = stats.t.ppf(0.975, 79) * np.std((one - other).mean(0), ddof=1) / math.sqrt(80)
    assert paired.ci95 == pytest.approx(half_width(over_tasks, 80, [spread]))
    with pytest.raises(MetaftError, match="got 4 and 3"):
        difference(one, other[:3], paired_seeds=True)


def test_tasks_that_one_of_them_lacks_are_left_out_and_counted() -> None:
    rng = np.random.default_rng(8)
    one, other = drawn(rng, 2, 20, 1.0), drawn(rng, 3, 20, 1.0)
    one[1, 4], other[0, 7] = math.nan, math.inf
    found = difference(one, other)
    keep = [t for t in range(20) if t not in (4, 7)]
    assert (found.count, found.diverged) == (18, 2)
    assert found.ci95 == difference(one[:, keep], other[:, keep]).ci95
    with pytest.raises(MetaftError, match="20 and 18"):
        difference(one, other[:, keep])


def test_one_task_or_none_gives_no_verdict() -> None:
    for tasks in (0, 1):
        found = difference(np.ones((3, tasks)), np.zeros((3, tasks)))
        assert math.isnan(found.ci95)
        assert found.verdict(True) == ""


@pytest.fixture(autouse=True)
def _memory_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its collection of garbage takes far longer than these small evaluations."""
    monkeypatch.setattr("metaft.evaluation.benchmark.peak_memory", lambda: contextlib.nullcontext(Peak()))


@dataclasses.dataclass
class ClassMeans:
    """Class means on the features of a small network with random weights."""

    seed: int
    name: str = "class means"
    transductive: bool = False

    def __post_init__(self) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        self.params = {"first": torch.randn(2, 3, generator=rng), "second": torch.randn(3, 2, generator=rng)}

    def adapt(self, support_x, support_y):
        features = lambda x: (x @ self.params["first"]).relu() @ self.params["second"]
        own = torch.nn.functional.one_hot(support_y).float().mT
        means = own @ features(support_x) / own.sum(-1, keepdim=True)
        return lambda query_x: -torch.cdist(features(query_x), means)

    def curve(self, batch, steps=None):
        return self.adapt(batch.support_x, batch.support_y)(batch.query_x)[None]

    def describe(self):
        return {"adapts": 0}


def test_seeds_of_one_method_are_seldom_told_apart() -> None:
    """Fault 34: the interval over tasks alone tells most of these pairs of equal methods apart."""
    told, old = [], []
    for pair in range(8):
        ways = {name: [ClassMeans(100 * pair + 10 * start + s) for s in range(3)] for start, name in enumerate("ab")}
        compared = metaft.compare(ways, Blobs(gap=1.5), tasks=200)
        _, row = compared.rows(2)
        assert row.gap is not None
        assert (row.gap.ranges_over, row.gap.about) == (BOTH, METHOD)
        told.append(row.verdict)
        old.append(difference(compared.per_task("b", 2), compared.per_task("a", 2)).verdict(True))
    assert sum(verdict != "" for verdict in told) <= 1
    assert sum(verdict != "" for verdict in old) >= 3


def test_one_seed_of_a_network_gives_a_verdict_of_its_weights_alone() -> None:
    compared = metaft.compare(
        {"a": NearestNeighbour(), "b": ClassMeans(0), "c": NearestNeighbour(k=2)}, Blobs(), tasks=30
    )
    _, network, rule = compared.rows(2)
    assert network.gap is not None
    assert rule.gap is not None
    assert (network.gap.about, rule.gap.about) == (WEIGHTS, METHOD)
    heads, rows = table_rows(compared, 2)
    cells = [dict(zip(heads, row, strict=True))["against a"] for row in rows]
    assert ", these weights" in cells[1]
    assert "these weights" not in cells[2]


class Holding(ClassMeans):
    """Its weights lie in a module, not among its parameters."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.module = torch.nn.Linear(2, 2)
        self.weights, self.params = self.params, {}

    def adapt(self, support_x, support_y):
        return ClassMeans(self.seed).adapt(support_x, support_y)


class Forest(ClassMeans):
    """Without weights, but with a seed."""

    def __post_init__(self) -> None:
        self.params = {}

    def adapt(self, support_x, support_y):
        return ClassMeans(self.seed).adapt(support_x, support_y)

    def describe(self):
        return {"adapts": 0, "head_seed": self.seed}


@pytest.mark.parametrize("learner", [Holding(1), Forest(1)])
def test_what_hides_its_chance_is_not_taken_for_deterministic(learner: ClassMeans) -> None:
    compared = metaft.compare({"a": NearestNeighbour(), "b": learner}, Blobs(), tasks=6)
    gap = compared.rows(2)[1].gap
    assert gap is not None
    assert gap.about == WEIGHTS


def test_paired_seeds_are_said() -> None:
    ways = {name: [ClassMeans(s) for s in range(3)] for name in "ab"}
    compared = metaft.compare(ways, Blobs(), tasks=20, paired_seeds=True)
    gap = compared.rows(2)[1].gap
    assert gap is not None
    assert (gap.paired, gap.mean, gap.ci95) == (True, 0.0, 0.0)
    assert "seed s held against seed s" in note(compared)
    assert "independent" in note(metaft.compare(ways, Blobs(), tasks=20))
