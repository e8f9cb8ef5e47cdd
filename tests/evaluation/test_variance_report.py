"""The tables of variance say what was put in."""

from __future__ import annotations

import json

import numpy as np
import pytest

from metaft.evaluation.statistics import mean_interval
from metaft.evaluation.variance_report import Measured, box_plot, markdown, results

LABELS = (0,) * 5 + (1,) * 5


def marks(counts: np.ndarray) -> np.ndarray:
    """So many right answers in each cell, the first queries."""
    return np.arange(10) < counts[..., None]


PLAIN = np.array([2, 5, 8])[:, None, None] + np.array([0, 1])[:, None] + np.zeros(3, int)  # patterns and sets alone
BETTER = np.full((3, 2, 3), 8)


def measured() -> Measured:
    return Measured(("x", "y", "z"), {"none": marks(PLAIN), "flat": marks(BETTER)}, LABELS)


def test_shares_and_differences() -> None:
    one = measured()
    split = one.split("none")
    assert split.variances == pytest.approx({"pattern": 900, "examples": 50, "order": 0, "rest": 0}, abs=1e-9)
    assert split.shares["pattern"] == pytest.approx(900 / 950)
    assert all(np.isnan(list(one.split("flat").shares.values())))
    gain = one.gain("flat")
    assert gain.mean == pytest.approx(80 - 55)
    spread = PLAIN.reshape(3, 6).std(1, ddof=1) * 10
    assert (gain.spread, gain.over_patterns) == pytest.approx(mean_interval(-spread), abs=1e-9)
    assert gain.over_cells > 0
    told = json.loads(json.dumps(results(one)))
    assert told["none"]["lowest"] == 20
    assert told["none"]["highest"] == 90
    assert told["flat"]["share"]["pattern"] is None
    assert told["flat"]["against_none"]["mean"] == pytest.approx(25)
    assert "against_none" not in told["none"]


def test_what_falls_below_0_is_said_and_shown_as_0() -> None:
    counts = np.array([[[0, 8], [8, 0]], [[8, 0], [0, 8]]])
    page = markdown(Measured(("x", "y"), {"none": marks(counts)}, LABELS), "title", "metaft …", "Seed 0.", "p.png")
    assert "| pattern | 56.57" in page
    assert "below 0, shown as 0: pattern × examples (-6400.00)" in page
    assert "| … pattern × examples | 0.00 |" in page
    assert "| … pattern × examples × order | 113.14 |" in page


def test_what_has_one_level_is_left_open() -> None:
    page = markdown(Measured(("x",), {"none": marks(PLAIN[:1, :, :1])}, LABELS), "title", "c", "m", "p.png")
    assert "| pattern | – |" in page
    assert "| order | – |" in page
    assert "| rest | – |" in page
    assert "Difference" not in page
    markdown(Measured(("x",), {"none": marks(PLAIN[:1, :1, :1])}, LABELS), "title", "c", "m", "p.png")


def test_boxes_stand_beside_each_other() -> None:
    figure = box_plot(measured(), "title")
    (axes,) = figure.axes
    boxes = [patch for patch in axes.patches if patch.get_facecolor()[3] == 0.6]
    assert len(boxes) == 6
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y", "z"]
    heights = sorted({round(float(line.get_ydata()[0]), 1) for line in axes.lines if len(set(line.get_ydata())) == 1})
    assert 50.0 in heights  # guessing
