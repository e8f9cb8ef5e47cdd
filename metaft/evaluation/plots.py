"""Figures of results, training, episodes and fits; `save` writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from metaft.errors import MetaftError
from metaft.evaluation.episode_plot import episode_figure
from metaft.evaluation.report import LABELS, format_score
from metaft.evaluation.result import Result
from metaft.evaluation.style import BLACK, COLOURS, GREY, blank, save, series, tidy

__all__ = ["accuracy_per_step", "episode_figure", "save", "sinusoid_fits", "training_curves"]

# Panels of `training_curves`: the word that a scalar's name must contain, and the axis label.
PANELS = (
    (("loss", "mse", "error"), "loss"),
    (("accuracy",), "accuracy, %"),
    (("grad",), "gradient norm"),
    (("tasks_per_s", "tasks/s"), "tasks per second"),
    (("lr", "learning_rate"), "learning rate"),
)


def accuracy_per_step(results: Mapping[str, Result] | Result, title: str = "") -> Figure:
    """Score after each inner step, with the 95% interval over tasks as a band.

    Args:
        results: by the name to show; a learner without inner steps becomes a level line.
        title: stands above.

    Returns:
        The figure; accuracy in per cent, or mean squared error. The last step's score stands in the legend.

    Raises:
        MetaftError: if accuracies and errors are mixed, or there is nothing to show.
    """
    if isinstance(results, Result):
        results = {str(results.learner["name"]): results}
    metrics = {result.metric for result in results.values()}
    if len(metrics) != 1:
        raise MetaftError(f"a figure shows results of one metric, got {sorted(metrics) or 'none'}")
    metric = metrics.pop()
    scale = 100 if metric == "accuracy" else 1
    longest = max(max(len(result.steps) for result in results.values()) - 1, 1)
    figure = blank(6.4, 4.2)
    axes = figure.add_subplot()
    for number, (name, result) in enumerate(results.items()):
        look = series(number)
        mean, half = scale * np.array(result.per_step, dtype=float).T
        label = f"{name} ({result.mode}): {format_score(result.mean, result.ci95, metric)}"
        if len(mean) == 1:
            x, mean, half = np.array([0, longest]), mean.repeat(2), half.repeat(2)
            axes.plot(x, mean, color=look["color"], linestyle="--", label=label)
        else:
            x = np.arange(len(mean))
            axes.plot(x, mean, markersize=5, label=label, **look)
        axes.fill_between(x, mean - half, mean + half, color=look["color"], alpha=0.2, linewidth=0)
    tidy(axes, "inner steps at test time", LABELS[metric], title)
    if metric == "mse":
        _log_if_wide(axes, np.array([step for result in results.values() for step, _ in result.per_step]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(frameon=False, fontsize=9)
    return figure


def training_curves(rows: Sequence[Mapping[str, Any]], x: str = "iteration") -> Figure:
    """How training went: a panel each for losses, accuracies, gradient norms, speed and learning rate.

    Args:
        rows: one mapping of scalars a logged iteration, as `metaft.runs.metrics.read_rows` gives; scalars
            may be missing from some rows, and ``kind`` ("train", "validation") sets its scalars apart.
        x: the scalar on the horizontal axis.

    Returns:
        The figure; losses and gradient norms get a logarithmic axis when they span more than a factor of 30.

    Raises:
        MetaftError: if no row holds `x` and a known scalar.
    """
    rows = [{key if key == x or "kind" not in row else f"{row['kind']} {key}": row[key] for key in row} for row in rows]
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name != x]
    curves = {name: _curve(rows, x, name) for name in names}
    panels = []
    for words, label in PANELS:
        inside = [n for n in names if any(word in n.lower() for word in words) and len(curves[n])]
        names = [name for name in names if name not in inside]
        panels += [(label, inside)] if inside else []
    if not panels:
        raise MetaftError(f"nothing to draw: {len(rows)} rows of metrics, none with {x!r} and a known scalar")
    columns = min(len(panels), 2)
    lines = math.ceil(len(panels) / columns)
    figure = blank(5.0 * columns, 2.9 * lines)
    for place, (label, inside) in enumerate(panels):
        axes = figure.add_subplot(lines, columns, place + 1)
        for number, name in enumerate(inside):
            at, value = curves[name].T
            look = {**series(number), "marker": series(number)["marker"] if len(at) < 30 else ""}
            value = 100 * value if "%" in label else value
            axes.plot(at, value, linewidth=1.2, markersize=4, label=_spoken(name), **look)
        if label in ("loss", "gradient norm"):
            _log_if_wide(axes, np.concatenate([curves[name][:, 1] for name in inside]))
        tidy(axes, x, label)
        if label == "tasks per second":
            axes.set_ylim(bottom=0)
        if len(inside) > 1 or place < 2:
            axes.legend(frameon=False, fontsize=8)
    return figure


def sinusoid_fits(
    x: ArrayLike,
    truth: ArrayLike,
    fits: Mapping[str, ArrayLike],
    support_x: ArrayLike,
    support_y: ArrayLike,
    steps: Sequence[int] = (0, 1, 10),
) -> Figure:
    """Fits after a few inner steps, one row a task and one column a learner (Finn et al. 2017, figure 2).

    Args:
        x: ``[points]``, where the curves are drawn.
        truth: ``[tasks, points]``.
        fits: by learner, ``[len(steps), tasks, points]``, predictions at `x` after each of `steps`.
        support_x: ``[tasks, shots]``.
        support_y: ``[tasks, shots]``.
        steps: how many inner steps each of the fits has made.

    Returns:
        The figure.

    Raises:
        MetaftError: if the shapes do not fit together.
    """
    points, target = np.asarray(x, dtype=float), np.asarray(truth, dtype=float)
    given_x, given_y = np.asarray(support_x, dtype=float), np.asarray(support_y, dtype=float)
    found = {name: np.asarray(fit, dtype=float) for name, fit in fits.items()}
    tasks = len(target)
    expected = (len(steps), tasks, len(points))
    for name, fit in found.items():
        if fit.shape != expected:
            raise MetaftError(f"fits of {name!r} must have shape {list(expected)}, got {list(fit.shape)}")
    if target.shape != expected[1:] or given_x.shape != given_y.shape or len(given_x) != tasks or not found:
        raise MetaftError(
            f"truth {list(target.shape)}, support {list(given_x.shape)} and {list(given_y.shape)} and "
            f"{len(found)} learners do not make a figure of {tasks} tasks at {len(points)} points"
        )
    figure = blank(3.6 * len(found) + 0.4, 2.3 * tasks + 0.7)
    grid = figure.subplots(tasks, len(found), sharex=True, sharey="row", squeeze=False)
    dashes = (":", "--", "-", "-.")
    for task, row in enumerate(grid):
        for axes, (name, fit) in zip(row, found.items(), strict=True):
            axes.plot(points, target[task], color="#c8c8c8", linewidth=4, label="truth")
            for number, count in enumerate(steps):
                axes.plot(
                    points,
                    fit[number, task],
                    linestyle=dashes[number % len(dashes)],
                    color=(GREY, *COLOURS)[number % 8],
                    linewidth=1.8,
                    label=f"{count} step{'' if count == 1 else 's'}",
                )
            axes.plot(given_x[task], given_y[task], "^", color=BLACK, markersize=6, label="support points")
            left, bottom = axes is row[0], task == tasks - 1
            tidy(axes, "x" if bottom else "", f"task {task + 1}: y" if left else "", "" if task else name)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def _curve(rows: Sequence[Mapping[str, Any]], x: str, name: str) -> np.ndarray:
    """``[points, 2]`` of the rows in which both are finite numbers."""
    pairs = [(row.get(x), row.get(name)) for row in rows]
    numbers = [
        pair
        for pair in pairs
        if all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in pair)
    ]
    return np.array(numbers, dtype=float).reshape(-1, 2)


def _log_if_wide(axes: Axes, values: np.ndarray) -> None:
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")


def _spoken(name: str) -> str:
    return name.replace("_", " ").replace("/", ": ")
