"""Pictures of additions: accuracy against what is trained and against inner steps, and what full fine-tuning moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from torch import Tensor

from metaft.evaluation.style import BLACK, GREY, blank, series, tidy

ACCURACY = "accuracy, %"


class Point(NamedTuple):
    """One way of adapting, at one number of shots.

    Args:
        parameters: how many numbers are trained or moved, the head left out.
        mean: accuracy from 0 to 1.
        ci95: half of its interval over tasks.
    """

    parameters: int
    mean: float
    ci95: float


def against_parameters(points: Mapping[int, Mapping[str, Point]], levels: Mapping[int, float], title: str) -> Figure:
    """Accuracy against the number of parameters, a panel a number of shots.

    Args:
        points: shots → label → where it lies.
        levels: shots → accuracy of class means, for which nothing moves.
        title: stands above the first panel.

    Returns:
        The figure.
    """
    figure = blank(4.0 * len(points) + 2.6, 4.2)
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    names = list(dict.fromkeys(label for of_shots in points.values() for label in of_shots))
    for axes, (shots, of_shots) in zip(panels, points.items(), strict=True):
        for label, point in of_shots.items():
            look = _look(names.index(label)) | {"linestyle": ""}
            mean, half = [100 * point.mean], [100 * point.ci95]
            axes.errorbar([point.parameters], mean, yerr=half, markersize=6, label=label, **look)
        axes.axhline(100 * levels[shots], color=GREY, linestyle=":", linewidth=1.2, label="class means")
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        first = axes is panels[0]
        tidy(axes, "parameters trained or moved, without head", ACCURACY if first else "",
             title if first else f"{shots}-shot")  # fmt: skip
    handles: dict[str, Any] = {}
    for axes in panels:
        handles |= {name: handle for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def against_steps(curves: Mapping[int, Mapping[str, Sequence[tuple[float, float]]]], title: str) -> Figure:
    """Accuracy after each inner step, a panel a number of shots.

    Args:
        curves: shots → label → accuracy from 0 to 1 and half of its interval, after 0, 1, … steps.
        title: stands above the first panel.

    Returns:
        The figure; what takes no step is a level line.
    """
    figure = blank(4.0 * len(curves) + 3.4, 4.2)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    longest = max(len(curve) for of_shots in curves.values() for curve in of_shots.values()) - 1
    for axes, (shots, of_shots) in zip(panels, curves.items(), strict=True):
        for number, (label, curve) in enumerate(of_shots.items()):
            look, (mean, half) = _look(number), 100 * np.array(curve, dtype=float).T
            if len(mean) == 1:
                axes.plot([0, longest], mean.repeat(2), color=look["color"], linestyle=":", label=label)
                continue
            axes.plot(range(len(mean)), mean, markersize=4, label=label, **look)
            axes.fill_between(range(len(mean)), mean - half, mean + half, color=look["color"], alpha=0.12, lw=0)
        first = axes is panels[0]
        tidy(axes, "inner steps at test time", ACCURACY if first else "", title if first else f"{shots}-shot")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def why_low_rank(
    spectra: Mapping[str, Sequence[Tensor]], by_rank: Mapping[str, Mapping[int, tuple[float, float]]], title: str
) -> Figure:
    """The singular values of what full fine-tuning moved, beside the accuracy of LoRA by rank.

    Args:
        spectra: kind of matrix → the singular values of each layer's, falling, lowest layer first.
        by_rank: label → rank → accuracy from 0 to 1 and half of its interval.
        title: stands above the first panel.

    Returns:
        The figure; each spectrum is divided by its largest value, and darker the higher its layer.
    """
    count = len(spectra) + bool(by_rank)
    figure = blank(3.2 * count, 3.8)
    panels = figure.subplots(1, count, squeeze=False)[0]
    for number, (axes, (kind, of_layers)) in enumerate(zip(panels[: len(spectra)], spectra.items(), strict=True)):
        for layer, values in enumerate(of_layers):
            shade = 0.25 + 0.75 * (layer + 1) / len(of_layers)
            axes.plot(np.arange(1, len(values) + 1), (values / values[0]).numpy(), linewidth=1.3, alpha=shade,
                      color=series(number)["color"], label=f"layer {layer}")  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(1e-3, 1.3)
        tidy(axes, "number of the singular value", "σ / largest σ" if not number else "",
             title if not number else kind)  # fmt: skip
        if not number:
            axes.text(0.97, 0.95, kind, transform=axes.transAxes, ha="right", va="top", fontsize=10)
            axes.legend(frameon=False, fontsize=8, loc="lower left")
    if by_rank:
        _by_rank(panels[-1], by_rank)
    return figure


def _by_rank(axes: Axes, by_rank: Mapping[str, Mapping[int, tuple[float, float]]]) -> None:
    for number, (label, scores) in enumerate(by_rank.items()):
        ranks = sorted(scores)
        mean, half = 100 * np.array([scores[rank] for rank in ranks], dtype=float).T
        axes.errorbar(ranks, mean, yerr=half, markersize=5, label=label, **_look(number))
    axes.set_xscale("log", base=2)
    ranks = sorted({rank for scores in by_rank.values() for rank in scores})
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    tidy(axes, "rank of LoRA", ACCURACY, "LoRA, ProtoNet")
    axes.legend(frameon=False, fontsize=9)


def _look(number: int) -> dict[str, Any]:
    """Colour, marker and dash of the n-th: seven colours, then again with other markers and dashes."""
    turn = number // 7
    own = series(number)
    return {"color": own["color"] if turn < 2 else BLACK, "marker": series(number + 3 * turn)["marker"],
            "linestyle": ("-", "--", ":")[turn % 3]}  # fmt: skip
