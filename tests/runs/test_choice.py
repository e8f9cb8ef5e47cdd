from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from metaft.commands.sweep.choice import Candidate, choose, heads, note, row
from metaft.commands.sweep.grid import Member
from metaft.commands.sweep.validation_only import Score
from metaft.evaluation.difference import difference

DRAW = np.random.default_rng(0)


def members(settings: list[dict[str, object]], seeds: int) -> list[Member]:
    return [
        Member(f"{number}-{seed}", number, dict(varied), seed, {})
        for number, varied in enumerate(settings)
        for seed in range(seeds)
    ]


def decide(means: list[list[float]], metric: str = "accuracy", **more: object) -> list[Candidate]:
    settings = more.pop("settings", [{"rate": i} for i in range(len(means))])
    found = members(settings, len(means[0]))  # type: ignore[arg-type]
    scores = {m.name: Score(metric, "inductive", means[m.setting][m.seed], 0.02) for m in found}
    states = {m.name: "finished" for m in found}
    for name in more.pop("failed", ()):  # type: ignore[attr-defined]
        del scores[name]
        states[name] = "failed"
    return choose(found, states, scores)


def chosen(candidates: list[Candidate]) -> list[int]:
    return [c.setting for c in candidates if c.chosen]


def test_the_best_mean_over_seeds_is_chosen() -> None:
    assert chosen(decide([[0.5, 0.6], [0.9, 0.1], [0.56, 0.58]])) == [2]
    assert chosen(decide([[0.5, 0.6], [0.9, 0.1], [0.56, 0.58]], metric="mse")) == [1]


def test_the_first_of_equals_is_chosen() -> None:
    assert chosen(decide([[0.5], [0.7], [0.7]])) == [1]


def test_a_setting_with_a_failed_seed_is_no_candidate() -> None:
    found = decide([[0.5, 0.5], [0.9, 0.9]], failed=["1-0"])
    assert chosen(found) == [0]
    assert found[1].mean == 0.9
    assert "1 of 2 (failed)" in row(found[1], paired=False)
    assert chosen(decide([[0.5]], failed=["0-0"])) == []


def test_every_kind_of_task_has_its_own_winner() -> None:
    settings = [{"shots": shots, "rate": rate} for shots in (1, 5) for rate in (0.1, 0.2)]
    assert chosen(decide([[0.5], [0.6], [0.9], [0.8]], settings=settings)) == [1, 2]


def test_interval_of_independent_validations() -> None:
    # Two means with half widths 0.02 each: variances add, then the mean of two halves the width.
    found = decide([[0.5, 0.6]])[0]
    assert found.mean == pytest.approx(0.55)
    assert found.ci95 == pytest.approx(math.sqrt(0.02**2 + 0.02**2) / 2)
    assert found.spread is not None
    assert (found.spread.low, found.spread.high) == (0.5, 0.6)


def test_on_the_same_tasks_differences_are_paired() -> None:
    found = members([{"k": 1}, {"k": 3}], 2)
    difficulty = DRAW.normal(0.6, 0.2, 40)
    tasks = {m.name: difficulty + 0.05 * m.setting + DRAW.normal(0, 0.01, 40) for m in found}
    scores = {name: Score("accuracy", "inductive", x.mean(), 0.1, tuple(x)) for name, x in tasks.items()}
    one, other = choose(found, dict.fromkeys(tasks, "finished"), scores)
    mean = [(tasks[f"{i}-0"] + tasks[f"{i}-1"]) / 2 for i in (0, 1)]
    interval = stats.t.interval(0.95, 39, loc=mean[0].mean(), scale=stats.sem(mean[0]))
    assert one.ci95 == pytest.approx((interval[1] - interval[0]) / 2)
    assert other.chosen
    assert one.behind == difference(*([tasks[f"{i}-{s}"] for s in (0, 1)] for i in (0, 1)))
    assert (one.behind.ranges_over, one.behind.about) == ("tasks and seeds", "the method")
    assert one.behind.ci95 < one.ci95 / 2
    assert len(row(one, paired=True)) == len(heads([one, other]))
    assert "over tasks and seeds" in note([one, other])


def test_one_seed_speaks_of_its_weights_alone_unless_nothing_is_random() -> None:
    found = members([{"k": 1}, {"k": 3}], 1)
    for known, said in ((False, True), (True, False)):
        scores = {m.name: Score("accuracy", "inductive", 0.5 + m.setting, 0.1, (0.4, 0.6, 0.5 + m.setting), known)
                  for m in found}  # fmt: skip
        one, other = choose(found, {m.name: "finished" for m in found}, scores)
        assert ("these weights" in row(one, paired=True)[4]) is said
        assert ("these weights" in note([one, other]).partition("against")[2]) is said
        assert "over tasks" in note([one, other])
