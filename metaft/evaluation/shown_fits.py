"""A few curves of a regression as every learner fitted them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from metaft.evaluation.comparison import Comparison
from metaft.evaluation.comparison_plots import looks_of
from metaft.evaluation.evaluate import draw
from metaft.evaluation.line_names import Named, name_ends
from metaft.evaluation.shown_episodes import SHOWN, first_answers
from metaft.evaluation.style import BLACK, blank, tidy
from metaft.tasks.family import TaskFamily

HEIGHT = 2.9
"""Inches of the axes."""


def fit_figure(comparison: Comparison, family: TaskFamily) -> Figure | None:
    """The first tasks of a regression on one number, with every learner's fit.

    Args:
        comparison: its learners' first seeds are shown, at the smallest number of shots.
        family: draws the tasks, at that number of shots.

    Returns:
        The figure; None for other tasks, or where no answers were kept.
    """
    cells = first_answers(comparison)
    if comparison.metric != "mse" or not cells:
        return None
    batch = next(draw(family, SHOWN))
    if batch.query_x.shape[2:] != (1,) or batch.query_y.shape[2:] != (1,):
        return None
    looks = looks_of(comparison)
    figure = blank(8.4, batch.tasks * (HEIGHT + 0.6) + 0.4)
    for task, axes in enumerate(figure.subplots(batch.tasks, 1, squeeze=False)[:, 0]):
        x, y = batch.query_x[task, :, 0].cpu().numpy(), batch.query_y[task, :, 0].cpu().numpy()
        order = x.argsort()
        axes.plot(x[order], y[order], color="#dddddd", linewidth=6, label="truth", zorder=0)
        ends = []
        for cell in cells:
            fit = np.array([np.nan if value is None else value for value in cell.answers[task]])
            look = {**looks[cell.label], "marker": ""}
            axes.plot(x[order], fit[order], label=cell.label, **look)
            ends.append(Named(cell.label, float(x[order[-1]]), float(fit[order[-1]]), str(look["color"])))
        given_x, given_y = batch.support_x[task, :, 0].cpu().numpy(), batch.support_y[task, :, 0].cpu().numpy()
        axes.plot(given_x, given_y, "o", color=BLACK, markersize=5, zorder=4, label="support")
        low, high = float(min(y.min(), given_y.min())), float(max(y.max(), given_y.max()))
        room = 0.4 * max(high - low, 1e-6)
        axes.set_ylim(low - room, high + room)  # a fit that goes astray leaves the picture
        heights = [end._replace(y=min(max(end.y, low - room), high + room)) for end in ends]
        tidy(axes, "x" if task == batch.tasks - 1 else "", "y", f"task {task + 1}: truth (wide), support points, fits")
        name_ends(axes, heights, HEIGHT)
    return figure
