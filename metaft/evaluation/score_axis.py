"""The axis of a score: opened near a ceiling of 100%, logarithmic for errors that span much."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from numpy.typing import NDArray

CEILING = 90.0
"""Per cent: where the best accuracy is above it, 90, 99 and 99.9 are drawn as far apart from each other."""
SPREAD = 30
"""An error that spans more than this factor gets a logarithmic axis."""
TICKS = (99.99, 99.98, 99.95, 99.9, 99.8, 99.5, 99, 98, 97, 95, 90, 80, 70, 50, 20, 0)
BETWEEN = (98.5, 96, 99.7, 93, 85, 97.5, 98.2, 98.8, 99.3, 60, 96.5)
"""Ticks where those are far apart."""
APART = 0.07
"""How far such a tick is from others, at least, in widths of the axis."""
MARGIN = 0.05
"""Room beyond the lowest and the highest score, of their distance."""
FEWEST = 0.01
"""Per cent of wrong answers that the opened axis still tells from none."""


def scale_scores(
    axes: Axes,
    scores: NDArray[np.float64],
    metric: str,
    which: Literal["x", "y"] = "y",
    around: NDArray[np.float64] | None = None,
) -> str:
    """Give an axis the scale and limits that tell its scores apart.

    Args:
        axes: of the picture.
        scores: in per cent or as mean squared errors; NaN is passed over.
        metric: "accuracy" or "mse".
        which: the axis.
        around: ends of intervals that are to be seen too, as far as they reach no nearer to 100 than half of the best
            score's distance.

    Returns:
        What to add to the axis' label; empty for an ordinary axis.
    """
    seen = np.asarray(scores, dtype=float)
    seen = seen[np.isfinite(seen)]
    if metric == "accuracy" and seen.size and seen.max() > CEILING:
        ends = np.array([]) if around is None else np.asarray(around, dtype=float)
        _open(axes, seen, ends[np.isfinite(ends)], which)
        return " (distances to 100 are logarithmic)"
    if metric == "mse" and spans_much(seen):
        (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    return ""


def spans_much(values: NDArray[np.float64]) -> bool:
    """Whether errors span a factor of more than `SPREAD`."""
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() > SPREAD * values.min())


def _open(axes: Axes, seen: NDArray[np.float64], around: NDArray[np.float64], which: Literal["x", "y"]) -> None:
    wrong = 100 - seen
    # No wrong answer at all lies as far above the fewest wrong answers as half of them would.
    least = max(float(wrong[wrong > FEWEST].min(initial=1.0)) / 2, FEWEST)

    def height(score: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(-np.log10(np.maximum(100 - np.asarray(score, dtype=float), least)))

    def score(height: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(100 - 10.0 ** -np.asarray(height, dtype=float))

    heights = height(np.concatenate([seen, np.maximum(around, 0.0)]))
    room = max(MARGIN * float(np.ptp(heights)), 0.02)
    low, high = float(score(heights.min() - room)), float(score(heights.max() + room))
    ticks = [float(tick) for tick in TICKS if low <= tick <= high and 100 - tick > least]
    if wrong.min() <= least:
        high, ticks = 100.0, [100.0, *ticks]
    whole = float(height(np.array(high)) - height(np.array(low)))
    for tick in BETWEEN:
        gaps = np.abs(height(np.array([*ticks, low, high])) - height(np.array(tick)))
        if low < tick < high and gaps.min() > APART * whole:
            ticks.append(float(tick))
    axis = axes.yaxis if which == "y" else axes.xaxis
    (axes.set_yscale if which == "y" else axes.set_xscale)("function", functions=(height, score))
    if len(ticks) < 2:
        ticks = [float(tick) for tick in score(np.linspace(height(np.array(low)), height(np.array(high)), 5))]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:.2f}".rstrip("0").rstrip(".")))
    axis.set_minor_formatter(NullFormatter())
    (axes.set_ylim if which == "y" else axes.set_xlim)(low, high)
