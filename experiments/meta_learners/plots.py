"""Validation score against training time, every method labelled where its line ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from metaft.evaluation.line_names import spread
from metaft.evaluation.style import COLOURS, blank, tidy

DASHES = ("-", "--", ":")
TICKS = (99.9, 99.5, 99, 98, 97, 95, 90, 80, 70, 50, 20)
LINE = 0.045
"""The height of a label, as a fraction of the axis."""


def curves_figure(curves: Mapping[str, np.ndarray], title: str, metric: str) -> Figure:
    """One line a method.

    Args:
        curves: by label, ``[points, 2]``: seconds, and accuracy from 0 to 1 or mean squared error.
        title: stands above.
        metric: "accuracy" (drawn so that 90, 99 and 99.9 are as far apart from each other) or "mse".

    Returns:
        The figure.
    """
    figure = blank(9.0, max(4.6, 0.28 * len(curves) + 1.2))
    axes = figure.add_subplot()
    for number, (name, curve) in enumerate(curves.items()):
        axes.plot(curve[:, 0], _height(curve[:, 1], metric), linewidth=1.6, label=name, **_look(number))
    tidy(axes, "training time on one core, seconds (compiling and validating included)",
         "accuracy, %" if metric == "accuracy" else "mean squared error", title)  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(_some))
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())
    if metric == "accuracy":
        axes.invert_yaxis()
        axes.yaxis.set_major_locator(FixedLocator([100 - tick for tick in TICKS]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 - error:g}"))
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{error:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(_some))
    axes.autoscale_view()
    _label_ends(axes, curves, metric)
    return figure


def _some(value: float, _: int) -> str:
    """Tick labels between powers of ten: 2 and 5 alone."""
    text = np.format_float_positional(float(f"{value:.3g}"), trim="-")
    return text if text.strip("0.")[:1] in ("2", "5") else ""


def _label_ends(axes: Axes, curves: Mapping[str, np.ndarray], metric: str) -> None:
    """A name beside the end of every line, tied to it where it had to move."""
    ends = np.array([[curve[-1, 0], _height(curve[-1:, 1], metric)[0]] for curve in curves.values()])
    at = (axes.transData + axes.transAxes.inverted()).transform(ends)
    heights = spread(at[:, 1], min(LINE, 1.0 / len(ends)))
    for number, ((name, curve), (x, y), height) in enumerate(zip(curves.items(), at, heights, strict=True)):
        score = f"{100 * curve[-1, 1]:.1f}" if metric == "accuracy" else f"{curve[-1, 1]:.3g}"
        colour = _look(number)["color"]
        arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)}
        axes.annotate(
            f"{name} {score}", (x, y), (1.03, height), xycoords="axes fraction", textcoords="axes fraction", fontsize=9,
            va="center", color=colour, annotation_clip=False, arrowprops=arrow,
        )  # fmt: skip


def _height(score: np.ndarray, metric: str) -> np.ndarray:
    return np.maximum(100 * (1 - score), 0.05) if metric == "accuracy" else score


def _look(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number // len(COLOURS) % len(DASHES)]}
