"""The pictures of the distillation experiments, from the numbers of results/distillation.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from metaft.evaluation.statistics import mean_interval
from metaft.evaluation.style import BLACK, GREY, blank, series, tidy

LINES = {"generations": "taught by the generation before", "longer": "the same network, longer on labels"}


def errors_by_student(rows: Mapping[str, Sequence[float]], published: Mapping[str, int]) -> Figure:
    """Errors of each network, a dot a seed, beside the published number.

    Args:
        rows: label → errors among the test examples, by seed.
        published: label → the paper's number.

    Returns:
        The figure.
    """
    figure = blank(6.4, 0.55 * len(rows) + 1.3)
    axes = figure.add_subplot()
    look = series(0)
    for place, (label, errors) in enumerate(rows.items()):
        once = lambda text, place=place: {"label": text if place == 0 else None}
        axes.plot(
            errors,
            [place] * len(errors),
            look["marker"],
            color=look["color"],
            alpha=0.5,
            markersize=6,
            **once("a seed"),
        )
        axes.plot(np.mean(errors), place, "|", color=BLACK, markersize=18, **once("mean"))
        if label in published:
            paper = once("Hinton et al. 2015")
            axes.plot(published[label], place, "x", color="#D55E00", markersize=9, markeredgewidth=2, **paper)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.margins(y=0.12)
    tidy(axes, "errors among the 10,000 test digits")
    axes.grid(True, axis="x", color="#e3e3e3", linewidth=0.7)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def accuracy_by_generation(lines: Mapping[float, Mapping[str, Mapping[int, Sequence[float]]]]) -> Figure:
    """Test accuracy by generation, a panel for each share of wrong labels; bars are 95% intervals over seeds.

    Args:
        lines: share → run → generation → accuracies by seed; "smoothing" has the one generation 1.

    Returns:
        The figure; vertical axes differ from panel to panel.
    """
    figure = blank(2.7 * len(lines) + 0.4, 3.4)
    panels = figure.subplots(1, len(lines), squeeze=False)[0]
    for axes, (share, runs) in zip(panels, lines.items(), strict=True):
        first = {0: runs.get("generations", {}).get(0, [])}
        for number, (run, label) in enumerate(LINES.items()):
            points = {k: values for k, values in sorted((first | dict(runs.get(run, {}))).items()) if values}
            means, halves = _intervals(points.values())
            places = np.array(list(points)) + 0.06 * (number - 0.5)
            axes.errorbar(places, means, halves, capsize=3, markersize=5, linewidth=1.4, label=label, **series(number))
        smoothed = runs.get("smoothing", {}).get(1)
        if smoothed:
            means, halves = _intervals([smoothed])
            axes.errorbar([1.0], means, halves, capsize=3, color=GREY, marker="D", markersize=5, linestyle="",
                          label="label smoothing, once")  # fmt: skip
        tidy(axes, "generation", "test accuracy, %" if axes is panels[0] else "", f"{100 * share:g}% wrong labels")
        axes.set_xticks(range(4))
        axes.margins(y=0.15)
    handles, labels = panels[0].get_legend_handles_labels()
    ncols = 3 if len(lines) > 2 else 1
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, frameon=False, fontsize=9)
    return figure


def gains(rows: Mapping[str, Mapping[str, Sequence[float]]], x: str) -> Figure:
    """What each way gains over generation 0, a dot a seed and the 95% interval of the mean over seeds.

    Args:
        rows: what is measured → way → gains by seed, in points.
        x: label of the horizontal axes.

    Returns:
        The figure, a panel for each thing measured.
    """
    ways = list(dict.fromkeys(way for by_way in rows.values() for way in by_way))
    figure = blank(3.3 * len(rows) + 1.4, 0.38 * len(ways) + 1.2)
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    for axes, (title, by_way) in zip(panels, rows.items(), strict=True):
        axes.axvline(0, color=GREY, linewidth=1)
        for way, values in by_way.items():
            place = ways.index(way)
            mean, half = mean_interval(values)
            axes.plot(values, [place] * len(values), "o", color="#56B4E9", markersize=4, alpha=0.8)
            axes.errorbar(mean, place, xerr=half, fmt="s", color="#0072B2", markersize=5, capsize=3)
        axes.set_yticks(range(len(ways)), ways)
        tidy(axes, x, "", title)
        axes.grid(True, axis="x", color="#e3e3e3", linewidth=0.7)
    panels[0].invert_yaxis()
    return figure


def _intervals(groups: Any) -> tuple[list[float], list[float]]:
    """Means and half widths in per cent; no width for a single seed."""
    found = [mean_interval([100 * value for value in values]) for values in groups]
    return [mean for mean, _ in found], [0.0 if np.isnan(half) else half for _, half in found]
