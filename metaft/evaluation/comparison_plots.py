"""A comparison as pictures: score against shots, against inner steps, against time."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from metaft.evaluation.comparison import Comparison, Row
from metaft.evaluation.line_names import Named, name_ends
from metaft.evaluation.report import LABELS, describe_family, format_score
from metaft.evaluation.score_axis import scale_scores
from metaft.evaluation.style import COLOURS, GREY, MARKERS, blank, tidy

FRONT = len(COLOURS)
"""Learners with a colour of their own; of more, the best and the baseline have one, the others are grey."""
PALE = "#b9b9b9"
"""Of lines behind."""
LINE, LEAST = 0.19, 2.9
"""Inches: of a name's line, and of the lowest axes."""

Looks = Mapping[str, dict[str, Any]]


def against_shots(comparison: Comparison) -> Figure:
    """Score against shots, with the 95% interval over tasks; at a single number of shots, a row a learner.

    Args:
        comparison: what to show.

    Returns:
        The figure.
    """
    if len(comparison.shots) == 1:
        return _rows(comparison)
    inner = _height(comparison)
    figure = blank(8.4, inner + 1.5)
    axes, looks = figure.add_subplot(), looks_of(comparison)
    by_learner = list(zip(*(comparison.rows(shots) for shots in comparison.shots), strict=True))
    for rows in by_learner:
        mean, half = _scaled(comparison, [(row.score.mean, row.score.ci95) for row in rows])
        _line(axes, comparison.shots, mean, half, rows[0], looks)
    title = describe_family(comparison.family)
    axes.set_xscale("log")
    axes.set_xticks(comparison.shots, [str(shots) for shots in comparison.shots])
    axes.xaxis.set_minor_locator(NullLocator())
    _finish(comparison, [axes], "shots", [title])
    _name(comparison, axes, [(rows[-1], comparison.shots[-1]) for rows in by_learner], looks, inner)
    _say(figure, comparison, "band")
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
    figure, panels, looks = *_panels(comparison), looks_of(comparison)
    for axes, shots in zip(panels, comparison.shots, strict=True):
        for row in comparison.rows(shots):
            mean, half = _scaled(comparison, row.steps)
            if len(mean) > 1:
                _line(axes, range(len(mean)), mean, half, row, looks, most=12)
                continue
            look = looks[row.label]
            level = {"color": look["color"], "zorder": look["zorder"], "linestyle": ":"}
            axes.plot([0, longest], mean.repeat(2), label=_spoken_name(row), **level)
            axes.plot([longest], mean, color=look["color"], marker=look["marker"], markersize=4, clip_on=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _finish(comparison, panels, "inner steps", _titles(comparison))
    for axes, shots in _named(comparison, panels):
        ends = [(row, longest if len(row.steps) == 1 else len(row.steps) - 1) for row in comparison.rows(shots)]
        _name(comparison, axes, ends, looks, _height(comparison))
    _say(figure, comparison, "band")
    return figure


def against_time(comparison: Comparison) -> Figure:
    """Score against seconds a task (logarithmic), a panel a number of shots.

    Args:
        comparison: what to show.

    Returns:
        The figure.
    """
    figure, panels, looks = *_panels(comparison), looks_of(comparison)
    every = [row.seconds_per_task for count in comparison.shots for row in comparison.rows(count)]
    for axes, shots in zip(panels, comparison.shots, strict=True):
        for row in comparison.rows(shots):
            mean, half = _scaled(comparison, [(row.score.mean, row.score.ci95)])
            look = {**looks[row.label], "linestyle": ""}
            bars: dict[str, Any] = {"yerr": half, "elinewidth": 1.2 if _in_front(look) else 0.6}
            axes.errorbar([row.seconds_per_task], mean, label=_spoken_name(row), **bars, **_marked(look, 6))
        axes.set_xscale("log")
        axes.set_xlim(*_decades(every))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _spoken(seconds)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    _finish(comparison, panels, "time to adapt and answer, a task", _titles(comparison))
    for axes, shots in _named(comparison, panels):
        ends = [(row, row.seconds_per_task) for row in comparison.rows(shots)]
        _name(comparison, axes, ends, looks, _height(comparison))
    _say(figure, comparison, "vertical line")
    return figure


def _rows(comparison: Comparison) -> Figure:
    """One number of shots: a row a learner, the best above."""
    by_label = {row.label: row for row in comparison.rows(comparison.shots[0])}
    rows, looks = [by_label[label] for label in ranked(comparison)], looks_of(comparison)
    figure = blank(7.6, 0.3 * len(rows) + 1.7)
    axes = figure.add_subplot()
    mean, half = _scaled(comparison, [(row.score.mean, row.score.ci95) for row in rows])
    ranges = False
    for number, row in enumerate(rows):
        look = {**looks[row.label], "linestyle": ""}
        axes.errorbar(mean[number], number, xerr=half[number], **_marked(look, 6))
        if row.seeds is not None and row.seeds.seeds > 1:
            ends = _scale(comparison) * np.array([row.seeds.low, row.seeds.high])
            axes.plot(ends, [number + 0.22] * 2, color=look["color"], linewidth=1, alpha=0.6)
            ranges = True
    note = scale_scores(axes, mean, comparison.metric, "x", np.concatenate([mean - half, mean + half]))
    title = describe_family({**comparison.family, "shots": comparison.shots[0]})
    tidy(axes, LABELS[comparison.metric] + note, "", title)
    axes.grid(True, axis="x", color="#e3e3e3", linewidth=0.7)
    axes.set_yticks(
        range(len(rows)), [f"{_spoken_name(row)}  {_score(comparison, row)}" for row in rows], parse_math=False
    )
    axes.invert_yaxis()
    _say(figure, comparison, "line", "the thinner line below: from the worst to the best seed" if ranges else "")
    return figure


def ranked(comparison: Comparison) -> list[str]:
    """The learners, best first: by the mean of their ranks at each number of shots.

    Args:
        comparison: of them.

    Returns:
        Labels; the order given among equals.
    """
    places = dict.fromkeys(comparison.labels, 0)
    sign = -1 if comparison.metric == "accuracy" else 1
    for shots in comparison.shots:
        scores = {row.label: sign * row.score.mean for row in comparison.rows(shots)}
        for label, score in scores.items():
            worse_than = sum(other < score for other in scores.values())
            places[label] += worse_than if math.isfinite(score) else len(scores)
    return sorted(places, key=lambda label: places[label])


def looks_of(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Colour, marker and line of every learner, the same in all pictures; grey of those behind.

    Args:
        comparison: of them.

    Returns:
        Keywords for `Axes.plot` by label.
    """
    labels = comparison.labels
    if len(labels) > FRONT:
        best = [label for label in ranked(comparison) if label != comparison.baseline][: FRONT - 1]
        labels = [label for label in labels if label in (*best, comparison.baseline)]
    front = {
        label: {"color": COLOURS[number], "marker": MARKERS[number], "linestyle": "-", "linewidth": 1.6, "zorder": 3}
        for number, label in enumerate(labels)
    }
    behind = {"color": PALE, "marker": ".", "linestyle": "-", "linewidth": 0.9, "zorder": 1}
    return {label: front.get(label, behind) for label in comparison.labels}


def _in_front(look: Mapping[str, Any]) -> bool:
    return bool(look["color"] != PALE)


def _marked(look: Mapping[str, Any], size: float) -> dict[str, Any]:
    return {**look, "markersize": size if _in_front(look) else size - 1}


def _line(
    axes: Axes, x: Sequence[int], mean: NDArray[np.float64], half: NDArray[np.float64], row: Row, looks: Looks,
    most: int = 1000,
) -> None:  # fmt: skip
    """A learner's line, with its band unless it is one of those behind; markers where points are few."""
    look = _marked(looks[row.label], 5)
    look["marker"] = look["marker"] if len(mean) <= most else ""
    axes.plot(x, mean, label=_spoken_name(row), **look)
    if _in_front(look):
        axes.fill_between(x, mean - half, mean + half, color=look["color"], alpha=0.15, lw=0)


def _panels(comparison: Comparison) -> tuple[Figure, list[Axes]]:
    """A panel a number of shots: side by side, or, of many learners, one below the other, each with its names."""
    count, inner = len(comparison.shots), _height(comparison)
    if _many(comparison):
        figure = blank(8.4, count * (inner + 0.75) + 0.7)
        return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0])
    figure = blank(3.2 * count + 2.8, inner + 1.5)
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False)[0])


def _many(comparison: Comparison) -> bool:
    return len(comparison.labels) > FRONT


def _height(comparison: Comparison) -> float:
    """Inches of the axes: room for all names."""
    return max(LEAST, LINE * len(comparison.labels))


def _named(comparison: Comparison, panels: Sequence[Axes]) -> list[tuple[Axes, int]]:
    """The panels that names stand beside: those that have nothing on their right."""
    every = list(zip(panels, comparison.shots, strict=True))
    return every if _many(comparison) else every[-1:]


def _titles(comparison: Comparison) -> list[str]:
    first = describe_family({**comparison.family, "shots": comparison.shots[0]})
    return [first, *(f"{shots}-shot" for shots in comparison.shots[1:])]


def _finish(comparison: Comparison, panels: Sequence[Axes], x: str, titles: Sequence[str]) -> None:
    """Labels, and one scale for panels side by side, which share their axis."""
    apart = _many(comparison)
    for number, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        seen = [axes] if apart else panels
        note = scale_scores(axes, _points(seen), comparison.metric, around=_ends(seen))
        below = x if not apart or number == len(panels) - 1 else ""
        tidy(axes, below, LABELS[comparison.metric] + note if apart or not number else "", title)


def _points(panels: Sequence[Axes]) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(line.get_ydata(), dtype=float) for axes in panels for line in axes.lines])


def _ends(panels: Sequence[Axes]) -> NDArray[np.float64]:
    """Of bands and vertical lines."""
    drawn = [part for axes in panels for part in axes.collections if isinstance(part, PolyCollection | LineCollection)]
    return np.concatenate(
        [np.array([]), *(np.asarray(path.vertices)[:, 1] for part in drawn for path in part.get_paths())]
    )


def _name(comparison: Comparison, axes: Axes, ends: Sequence[tuple[Row, float]], looks: Looks, height: float) -> None:
    """The learners' names at the ends of their lines."""
    scale = _scale(comparison)
    name_ends(axes, [
        Named(f"{_spoken_name(row)}  {_score(comparison, row)}", x, scale * row.score.mean,
              looks[row.label]["color"] if _in_front(looks[row.label]) else GREY)
        for row, x in ends
    ], height)  # fmt: skip


def _say(figure: Figure, comparison: Comparison, interval: str, more: str = "") -> None:
    """Below the figure: how many tasks there are, and what the drawn interval is."""
    seeds = max(len(comparison.of(label, comparison.shots[0])) for label in comparison.labels)
    of_seeds = f", of each task's mean over {seeds} seeds" if seeds > 1 else ""
    each = " at each number of shots" if len(comparison.shots) > 1 else ""
    said = f"{comparison.tasks} tasks{each}, the same for every learner. A {interval}: 95% interval of the mean over "
    said += f"tasks{of_seeds}" + (f"; {more}" if more else "") + "."
    if _many(comparison):
        said += f" In colour: the best {FRONT - 1} and {comparison.baseline}, which others are held against."
    wide = int(15 * figure.get_figwidth())
    look = {"fontsize": 8, "color": GREY, "parse_math": False}
    figure.supxlabel("\n".join(textwrap.wrap(said, wide)), x=0.01, ha="left", **look)


def _scale(comparison: Comparison) -> float:
    return 100.0 if comparison.metric == "accuracy" else 1.0


def _scaled(
    comparison: Comparison, pairs: Sequence[tuple[float, float]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean, half = np.array(pairs, dtype=float).T * _scale(comparison)
    return mean, np.nan_to_num(half)


def _spoken_name(row: Row) -> str:
    return f"{row.label}, transductive" if row.mode == "transductive" else row.label


def _score(comparison: Comparison, row: Row) -> str:
    return format_score(row.score.mean, math.nan, comparison.metric)


def _decades(seconds: Sequence[float]) -> tuple[float, float]:
    """Whole powers of ten around some times."""
    exponents = np.log10(np.maximum(seconds, 1e-9))
    low = np.floor(exponents.min())
    return float(10**low), float(10 ** max(np.ceil(exponents.max()), low + 1))


def _spoken(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size * 0.999:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
