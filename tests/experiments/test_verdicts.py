from __future__ import annotations

import json

import numpy as np
import pytest

from experiments.paradigms.kept import against, apart
from experiments.verdicts.__main__ import corners, drawn, told_apart, whole
from experiments.verdicts.page import page
from experiments.verdicts.simulation import Layout, draw, ours, rates
from metaft.evaluation.difference import difference
from metaft.evaluation.statistics import mean_interval


def matrices(layout: Layout, rng: np.random.Generator) -> list[np.ndarray]:
    """Two matrices of scores, drawn entry by entry."""
    shared = layout.by_task * rng.standard_normal(layout.tasks)
    return [
        deviation * rng.standard_normal((count, 1)) + residual * rng.standard_normal((count, layout.tasks)) + own
        for count, deviation, residual, own in zip(
            layout.seeds, layout.deviations, layout.residuals, (shared, 0), strict=True
        )
    ]


def test_mean_squares_are_drawn_as_whole_matrices_would_have_them() -> None:
    layout, rng = Layout((3, 2), 20, (1.0, 2.0), (4.0, 3.0), 5.0), np.random.default_rng(0)
    found = draw(layout, 4000, rng)
    halves = ours(found, layout.tasks)
    pairs = [difference(*matrices(layout, rng)) for _ in range(1500)]
    assert found.gap.std() == pytest.approx(np.std([pair.mean for pair in pairs]), rel=0.06)
    for share in (25, 50, 75):
        expected = np.percentile([pair.ci95 for pair in pairs], share)
        assert np.percentile(halves, share) == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("layout", [Layout((3, 3), 100, (1.0, 1.0)), Layout((5, 0), 100, (1.0, 0.0))])
def test_the_rates_are_those_of_the_page(layout: Layout) -> None:
    found = rates(layout, 1500, np.random.default_rng(1))
    assert found["ours"]["false"] < 0.07
    assert found["tasks alone"]["false"] > 0.2


def test_one_seed_is_right_about_its_weights_and_wrong_about_the_method() -> None:
    found = rates(Layout((1, 1), 600, (1.8, 1.8)), 3000, np.random.default_rng(2), ("ours",))["ours"]
    assert found["missed"] == pytest.approx(0.05, abs=0.015)
    assert found["false"] > 0.7


def test_the_page_is_made_of_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    pool = rng.standard_normal((12, 40)) + rng.standard_normal((12, 1))
    told = {str(count): told_apart(pool, count, 20, rng) for count in (1, 2, 3)}
    assert told["3"]["tasks alone"] > told["3"]["ours"]
    results = {
        "drawn": {"layouts": drawn(5, rng)},
        "corners": {"layouts": corners(5, rng)},
        "whole": {"layouts": whole(5, rng)},
        "real": {"pools": {"a pool": {"what": "drawn", "networks": 12, "deviation": 1.0, "seeds": told}}},
    }
    found = json.loads(
        json.dumps({"results": results, "pairs": 5, "splits": 20, "command": "python -m experiments.verdicts"})
    )
    text = page(found)
    assert text.count("| 3 | ") >= 6
    assert "these weights" in text
    assert "| a pool (drawn) |" in text


def kept(scores: np.ndarray, baseline: np.ndarray | None) -> dict[str, object]:
    """What a comparison kept of a learner in its JSON."""
    mean, half = mean_interval(scores.mean(0))
    means = scores.mean(1)
    row: dict[str, object] = {
        "score": {"mean": mean, "ci95": half, "count": scores.shape[1]},
        "seeds": None,
        "gap": None,
    }
    if len(scores) > 1:
        row["seeds"] = {"std": float(means.std(ddof=1)), "seeds": len(scores)}
    if baseline is not None:
        gap, width = mean_interval(scores.mean(0) - baseline.mean(0))
        row["gap"] = {"mean": gap, "ci95": width, "median": gap, "count": scores.shape[1], "diverged": 0}
    return row


def test_what_is_made_of_kept_numbers_is_never_too_narrow() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        one, other = matrices(Layout((3, 3), 30, (1.0, 0.2), by_task=rng.choice([0.0, 4.0])), rng)
        whole_one = difference(one, other)
        found = against(kept(one, other), kept(other, None))
        wider = apart(kept(one, None), kept(other, None))
        assert found.mean == pytest.approx(whole_one.mean)
        assert whole_one.ci95 <= found.ci95 * (1 + 1e-9)
        assert whole_one.ci95 <= wider.ci95 * (1 + 1e-9)
    fixed = rng.standard_normal((1, 30))
    single = against(kept(one, fixed), kept(fixed, None))
    assert difference(one, fixed, deterministic=(False, True)).ci95 <= single.ci95
