"""How far patterns, support sets and orders move an accuracy: tables, JSON, and a box plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from metaft.evaluation.report import markdown_table
from metaft.evaluation.statistics import mean_interval
from metaft.evaluation.style import BLUE, COLOURS, GREEN, GREY, ORANGE, PURPLE, blank, tidy
from metaft.evaluation.variance_components import Component, Values, components, half_width, over_strata
from metaft.plain_json import finite

FACTORS = ("pattern", "examples", "order")
REST = "rest"
NOTE = (
    "A cell is one pattern with one support set in one order. Accuracies are in per cent of the same queries in all "
    "cells. The interval of a mean is over queries, so many of each class. The variance of cells is split by an "
    "analysis of variance in which patterns, support sets and orders are draws (Cornfield & Tukey 1956; Searle, "
    "Casella & McCulloch 1992, §4.3). rest: interactions, and what the number of queries leaves to chance. The "
    "interval of a difference over cells treats patterns, support sets and orders as draws, that over queries the "
    "queries; neither holds the other."
)


@dataclass(frozen=True, eq=False)
class Measured:
    """Which queries were answered rightly in every cell.

    Args:
        patterns: their names.
        right: calibration → ``bool [patterns, sets, orders, queries]``; "none" the first.
        labels: of the queries.
    """

    patterns: tuple[str, ...]
    right: Mapping[str, NDArray[np.bool_]]
    labels: tuple[int, ...]

    @cached_property
    def accuracy(self) -> dict[str, Values]:
        """Calibration → ``[patterns, sets, orders]``, in per cent."""
        return {name: 100 * marks.mean(-1) for name, marks in self.right.items()}

    @property
    def base(self) -> str:
        """What calibrations are held against."""
        return next(iter(self.right))

    def mean(self, name: str) -> tuple[float, float]:
        """Mean accuracy and half width of its 95% interval over queries, in per cent."""
        of_query = 100 * self.right[name].mean((0, 1, 2))
        return float(of_query.mean()), over_strata(of_query, self.labels)

    def split(self, name: str) -> Split:
        """Where the variance of cells comes from."""
        return Split(tuple(components(self.accuracy[name], FACTORS)))

    def gain(self, name: str) -> Gain:
        """What a calibration changes against none."""
        cells = self.accuracy[name] - self.accuracy[self.base]
        of_query = 100.0 * (self.right[name].mean((0, 1, 2)) - self.right[self.base].mean((0, 1, 2)))
        spreads = [_deviations(self.accuracy[one]) for one in (name, self.base)]
        return Gain(
            float(cells.mean()),
            half_width(cells),
            over_strata(of_query, self.labels),
            *mean_interval(spreads[0] - spreads[1]),
        )


@dataclass(frozen=True)
class Split:
    """The variance of cells, split.

    Args:
        components: as `components` found them.
    """

    components: tuple[Component, ...]

    @property
    def variances(self) -> dict[str, float]:
        """Factor or "rest" → estimate, perhaps negative; a factor of one level is left out.

        The rest is the sum of the components of several factors, negative ones counting as 0.
        """
        main = {one.factors[0]: one.variance for one in self.components if len(one.factors) == 1}
        several = [one.variance for one in self.components if len(one.factors) > 1]
        return {**main, **({REST: sum(max(0.0, value) for value in several)} if several else {})}

    @property
    def shares(self) -> dict[str, float]:
        """Of the sum of all, negative ones counting as 0."""
        kept = {name: max(0.0, value) for name, value in self.variances.items()}
        total = sum(kept.values())
        return {name: value / total if total > 0 else math.nan for name, value in kept.items()}


@dataclass(frozen=True)
class Gain:
    """What a calibration changes, in points of a per cent.

    Args:
        mean: of the accuracy.
        over_cells: half width of the 95% interval, patterns, support sets and orders being draws.
        over_queries: half width of the 95% interval, queries being draws.
        spread: of the standard deviation within a pattern, mean over patterns; negative where it gets less.
        over_patterns: half width of the 95% interval of that.
    """

    mean: float
    over_cells: float
    over_queries: float
    spread: float
    over_patterns: float


def _deviations(accuracy: Values) -> Values:
    """The standard deviation over support sets and orders within each pattern; empty where there is one cell."""
    flat = accuracy.reshape(len(accuracy), -1)
    return flat.std(1, ddof=1) if flat.shape[1] > 1 else np.zeros(0)


def results(measured: Measured) -> dict[str, dict[str, Any]]:
    """The tables as plain JSON values, by calibration."""
    found = {}
    for name, accuracy in measured.accuracy.items():
        mean, half = measured.mean(name)
        split = measured.split(name)
        told: dict[str, Any] = {
            "mean": mean,
            "ci95_over_queries": half,
            "standard_deviation": _std(accuracy),
            "lowest": float(accuracy.min()),
            "highest": float(accuracy.max()),
            "variance": split.variances,
            "share": split.shares,
            "components": {
                " × ".join(one.factors): {"mean_square": one.square, "freedom": one.freedom, "variance": one.variance}
                for one in split.components
            },
            "accuracy": {pattern: values.tolist() for pattern, values in zip(measured.patterns, accuracy, strict=True)},
        }
        if name != measured.base:
            gain = measured.gain(name)
            told["against_none"] = {
                "mean": gain.mean,
                "ci95_over_cells": gain.over_cells,
                "ci95_over_queries": gain.over_queries,
                "standard_deviation_within_a_pattern": gain.spread,
                "ci95_over_patterns": gain.over_patterns,
            }
        found[name] = finite(told)
    return found


Rows = list[list[str]]


def _tables(measured: Measured, whole: bool) -> list[tuple[str, Sequence[str], Rows]]:
    """Title, heads and cells; with the parts of the rest, and each pattern, if all is wanted."""
    names = list(measured.right)
    scores, splits = measured.accuracy, {name: measured.split(name) for name in names}
    overall = [[name, _pm(*measured.mean(name)), _number(_std(scores[name])), *_ends(scores[name])] for name in names]
    found: list[tuple[str, Sequence[str], Rows]] = [
        ("Accuracy, %", ("calibration", "mean ± 95%", "deviation", "lowest", "highest"), overall)
    ]
    parts: Rows = [[factor, *(_part(splits[name], factor) for name in names)] for factor in (*FACTORS, REST)]
    if whole:
        each = {name: {one.factors: one.variance for one in splits[name].components} for name in names}
        inside = [factors for factors in each[names[0]] if len(factors) > 1]
        parts += [[f"… {' × '.join(some)}", *(_deviation(each[name][some]) for name in names)] for some in inside]
    found.append(("Standard deviation by source, points (share of the variance)", ("source", *names), parts))
    gains = {name: measured.gain(name) for name in names if name != measured.base}
    if gains:
        heads = ("calibration", "accuracy", "± over cells", "± over queries", "deviation within a pattern")
        rows = [
            [name, f"{one.mean:+.2f}", _number(one.over_cells), _number(one.over_queries),
             _pm(one.spread, one.over_patterns, "+")]
            for name, one in gains.items()
        ]  # fmt: skip
        found.append((f"Difference to {measured.base}, points, and its 95% intervals", heads, rows))
    if whole:
        rows = [
            [pattern, *(f"{scores[name][i].mean():.1f} ({'–'.join(_ends(scores[name][i]))})" for name in names)]
            for i, pattern in enumerate(measured.patterns)
        ]
        found.append(("Each pattern: mean accuracy (lowest–highest), %", ("pattern", *names), rows))
    return found


def screen(measured: Measured) -> Group:
    """The tables, for rich to print."""
    parts: list[Any] = []
    for title, heads, rows in _tables(measured, whole=False):
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for number, head in enumerate(heads):
            table.add_column(head, justify="right" if number else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        parts += [Text(title, style="bold"), table]
    return Group(*parts, *(Text(line, style="dim") for line in _negative(measured)))


def markdown(measured: Measured, title: str, command: str, made: str, picture: str) -> str:
    """A page with all tables and the picture.

    Args:
        measured: what to show.
        title: of the page.
        command: what made it.
        made: seed and versions, on one line.
        picture: file of the box plot.
    """
    page = [f"# {title}", f"`{command}`"]
    for heading, heads, rows in _tables(measured, whole=True):
        page += [f"## {heading}", markdown_table(heads, rows).rstrip()]
    page.append(f"![Accuracy of each pattern over support sets and orders]({picture})")
    return "\n\n".join([*page, *_negative(measured), NOTE, made]) + "\n"


def box_plot(measured: Measured, title: str) -> Figure:
    """Accuracy pattern by pattern, a box over support sets and orders, calibrated beside (Zhao et al. 2021, fig. 3).

    Args:
        measured: what to show.
        title: stands above.

    Returns:
        The figure; a box reaches from quarter to quarter, whiskers to the lowest and the highest.
    """
    names, count = list(measured.right), len(measured.patterns)
    figure = blank(max(6.0, 1.6 + count * (0.35 + 0.27 * len(names))), 4.2)
    axes = figure.add_subplot()
    palette = (BLUE, ORANGE, GREEN, PURPLE, *COLOURS)
    colours = {name: palette[number % len(palette)] for number, name in enumerate(names)}
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        places = np.arange(count) + (number - (len(names) - 1) / 2) * width
        drawn = axes.boxplot(
            [values.ravel() for values in measured.accuracy[name]],
            positions=list(places), widths=0.85 * width, whis=(0, 100), patch_artist=True, manage_ticks=False,
        )  # fmt: skip
        for patch in drawn["boxes"]:
            patch.set(facecolor=colours[name], edgecolor=colours[name], alpha=0.6)
        for line in (*drawn["whiskers"], *drawn["caps"]):
            line.set(color=colours[name])
        for line in drawn["medians"]:
            line.set(color=colours[name], linewidth=2.5)
    axes.axhline(100 / len(set(measured.labels)), color=GREY, linestyle=":", linewidth=1)
    tidy(axes, "", "accuracy, %", title)
    axes.set_xticks(range(count), measured.patterns, rotation=30, ha="right")
    axes.set_xlim(-0.6, count - 0.4)
    handles = [Patch(facecolor=colour, alpha=0.6, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, title="calibration", loc="outside right upper", frameon=False, fontsize=9)
    return figure


def _part(split: Split, factor: str) -> str:
    if factor not in split.variances:
        return "–"
    share = split.shares[factor]
    return _deviation(split.variances[factor]) + ("" if math.isnan(share) else f" ({100 * share:.0f}%)")


def _deviation(variance: float) -> str:
    return f"{math.sqrt(max(0.0, variance)):.2f}"


def _negative(measured: Measured) -> list[str]:
    """What is said of estimates below 0."""
    found = []
    for name in measured.right:
        below = [one for one in measured.split(name).components if one.variance < -1e-9]
        if below:
            told = ", ".join(f"{' × '.join(one.factors)} ({one.variance:.2f})" for one in below)
            found.append(f"{name}: variances estimated below 0, shown as 0: {told}, in points²")
    return found


def _std(accuracy: Values) -> float:
    return float(accuracy.std(ddof=1)) if accuracy.size > 1 else math.nan


def _ends(accuracy: Values) -> tuple[str, str]:
    return f"{accuracy.min():.1f}", f"{accuracy.max():.1f}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _pm(mean: float, half: float, sign: str = "") -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:{sign}.2f}" if math.isnan(half) else f"{mean:{sign}.2f} ± {half:.2f}"
