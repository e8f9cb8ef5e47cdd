"""A comparison as pictures: score against shots, against inner steps, against time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from metaft.evaluation.comparison import Comparison, Row
from metaft.evaluation.report import LABELS, describe_family
from metaft.evaluation.style import COLOURS, MARKERS, blank, tidy

DASHES = ("-", "--", ":")
SPREAD = 30
"""An error that spans more than this factor gets a logarithmic axis."""


def against_shots(comparison: Comparison) -> Figure:
    """Score against shots, with the 95% interval over tasks; at a single number of shots, a row a learner.

    Args:
        comparison: what to show.

    Returns:
        The figure.
    """
    if len(comparison.shots) == 1:
        return _rows(comparison)
    figure = blank(7.6, 4.4)
    axes = figure.add_subplot()
    by_learner = zip(*(comparison.rows(shots) for shots in comparison.shots), strict=True)
    for number, rows in enumerate(by_learner):
        mean, half = _scaled(comparison, [(row.score.mean, row.score.ci95) for row in rows])
        axes.plot(comparison.shots, mean, markersize=5, label=_name(rows[0]), **_look(number))
        axes.fill_between(comparison.shots, mean - half, mean + half, color=_look(number)["color"], alpha=0.15, lw=0)
    tidy(axes, "shots", LABELS[comparison.metric], describe_family(comparison.family))
    axes.set_xscale("log")
    axes.set_xticks(comparison.shots, [str(shots) for shots in comparison.shots])
    axes.xaxis.set_minor_locator(NullLocator())
    _error_axis(comparison, axes)
    _legend(figure, axes)
    return figure


def against_steps(comparison: Comparison) -> Figure | None:
    """Score after each inner step, a panel a number of shots; learners without steps are level lines.

    Args:
        comparison: what to show.

    Returns:
        The figure, or None if no learner has inner steps.
    """
    longest = max(len(row.steps) for shots in comparison.shots for row in comparison.rows(shots)) - 1
    if longest == 0:
        return None
    figure, panels = _panels(comparison)
    for axes, shots in zip(panels, comparison.shots, strict=True):
        for number, row in enumerate(comparison.rows(shots)):
            mean, half = _scaled(comparison, row.steps)
            look = _look(number)
            if len(mean) == 1:
                axes.plot([0, longest], mean.repeat(2), color=look["color"], linestyle=":", label=_name(row))
                axes.plot([longest], mean, color=look["color"], marker=look["marker"], markersize=5, clip_on=False)
                continue
            look["marker"] = look["marker"] if len(mean) <= 12 else ""
            axes.plot(range(len(mean)), mean, markersize=5, label=_name(row), **look)
            axes.fill_between(range(len(mean)), mean - half, mean + half, color=look["color"], alpha=0.15, lw=0)
        _finish_panel(comparison, axes, shots, "inner steps")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _legend(figure, panels[0])
    return figure


def against_time(comparison: Comparison) -> Figure:
    """Score against seconds a task (logarithmic), a panel a number of shots.

    Args:
        comparison: what to show.

    Returns:
        The figure.
    """
    figure, panels = _panels(comparison)
    for axes, shots in zip(panels, comparison.shots, strict=True):
        for number, row in enumerate(comparison.rows(shots)):
            mean, half = _scaled(comparison, [(row.score.mean, row.score.ci95)])
            look = {**_look(number), "linestyle": ""}
            axes.errorbar([row.seconds_per_task], mean, yerr=half, markersize=7, label=_name(row), **look)
        _finish_panel(comparison, axes, shots, "time to adapt and answer, a task")
        axes.set_xscale("log")
        axes.set_xlim(*_decades([row.seconds_per_task for count in comparison.shots for row in comparison.rows(count)]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _spoken(seconds)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    _legend(figure, panels[0])
    return figure


def _rows(comparison: Comparison) -> Figure:
    rows: list[Row] = comparison.rows(comparison.shots[0])
    figure = blank(7.0, 0.36 * len(rows) + 1.2)
    axes = figure.add_subplot()
    mean, half = _scaled(comparison, [(row.score.mean, row.score.ci95) for row in rows])
    for number, row in enumerate(rows):
        look = {**_look(number), "linestyle": ""}
        axes.errorbar(mean[number], number, xerr=half[number], markersize=6, **look)
        if row.seeds is not None and row.seeds.seeds > 1:
            ends = (100 if comparison.metric == "accuracy" else 1) * np.array([row.seeds.low, row.seeds.high])
            axes.plot(ends, [number + 0.22] * 2, color=look["color"], linewidth=1, alpha=0.6)
    title = describe_family({**comparison.family, "shots": comparison.shots[0]})
    tidy(axes, LABELS[comparison.metric], "", title)
    axes.grid(True, axis="x", color="#e3e3e3", linewidth=0.7)
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.invert_yaxis()
    if comparison.metric == "mse" and _wide(mean):
        axes.set_xscale("log")
    return figure


def _panels(comparison: Comparison) -> tuple[Figure, list[Axes]]:
    count = len(comparison.shots)
    figure = blank(3.3 * count + 2.6, 4.0)
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False)[0])


def _finish_panel(comparison: Comparison, axes: Axes, shots: int, x: str) -> None:
    first = shots == comparison.shots[0]
    shape = describe_family({**comparison.family, "shots": shots})
    tidy(axes, x, LABELS[comparison.metric] if first else "", shape if first else f"{shots}-shot")
    _error_axis(comparison, axes)


def _scaled(comparison: Comparison, pairs: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    mean, half = np.array(pairs, dtype=float).T * (100 if comparison.metric == "accuracy" else 1)
    return mean, np.nan_to_num(half)


def _name(row: Row) -> str:
    return f"{row.label}, transductive" if row.mode == "transductive" else row.label


def _look(number: int) -> dict[str, Any]:
    """Colour, marker and dash of the n-th learner: 7 colours, then the same with other markers and dashes."""
    turn = number // len(COLOURS)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[(number + 3 * turn) % len(MARKERS)],
        "linestyle": DASHES[turn % len(DASHES)],
    }


def _error_axis(comparison: Comparison, axes: Axes) -> None:
    if comparison.metric == "mse":
        drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
        if _wide(drawn):
            axes.set_yscale("log")


def _wide(values: np.ndarray) -> bool:
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() > SPREAD * values.min())


def _decades(seconds: Sequence[float]) -> tuple[float, float]:
    """Whole powers of ten around some times."""
    exponents = np.log10(np.maximum(seconds, 1e-9))
    low = np.floor(exponents.min())
    return float(10**low), float(10 ** max(np.ceil(exponents.max()), low + 1))


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=9)


def _spoken(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size * 0.999:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
