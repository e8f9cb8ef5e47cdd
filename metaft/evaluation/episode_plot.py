"""One episode as a picture: what the learner saw and what it answered."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from metaft.errors import MetaftError
from metaft.evaluation.style import BLACK, BLUE, GREY, VERMILLION, blank, tidy
from metaft.tasks.answers import answered, present
from metaft.tasks.batch import IGNORE, TaskBatch

MOST_SUPPORT, MOST_QUERIES, MOST_CLASSES, MOST_FITS = 5, 10, 20, 3
NARROWEST = 4.5  # inches: room for the lines of text
GAP = 0.12


def episode_figure(batch: TaskBatch, predictions: Tensor, task: int = 0) -> Figure:
    """Draw tasks with their predictions.

    Args:
        batch: tasks whose inputs are images ``[channels, height, width]`` or single numbers ``[1]``.
        predictions: for the query set, ``[tasks, queries, outputs]`` or, after each inner step,
            ``[steps + 1, tasks, queries, outputs]``; class labels ``int64 [tasks, queries]`` will do too.
        task: the (first) task to draw.

    Returns:
        The figure. Images: a row a class, its support examples, then its queries framed in blue when answered
        rightly and otherwise in vermillion with the class answered. Numbers: up to three tasks with truth,
        support points and fit, and the fit before adapting when `predictions` hold it.

    Raises:
        MetaftError: if the inputs are neither, or the shapes do not fit together.
    """
    steps = predictions.detach().cpu()
    steps = steps if steps.dim() == 4 else steps.unsqueeze(0)
    if steps.shape[1:3] != batch.query_y.shape[:2] or not 0 <= task < batch.tasks:
        raise MetaftError(
            f"predictions {list(predictions.shape)} do not fit {batch.tasks} tasks of "
            f"{batch.query_y.shape[1]} queries, of which number {task} is to be drawn"
        )
    if batch.query_x.dim() == 5 and not batch.query_y.is_floating_point():
        answers = _answers(steps[-1], batch) if steps.dim() == 4 else steps[-1]
        return _images(batch[task : task + 1], answers[task].numpy())
    if batch.query_x.shape[2:] == (1,) and batch.query_y.shape == steps.shape[1:]:
        return _fits(batch[task : task + MOST_FITS], steps[:, task : task + MOST_FITS].numpy())
    raise MetaftError(
        "an episode can be drawn of images [channels, height, width] or single numbers, "
        f"not of inputs {list(batch.query_x.shape[2:])}"
    )


NONE = -2
"""Stands for a missing answer; no class, and not padding either."""


def _answers(scores: Tensor, batch: TaskBatch) -> Tensor:
    """The classes answered, as they are scored; `NONE` where there is no answer."""
    allowed = present(batch.support_y.cpu(), scores.shape[-1]).unsqueeze(-2)
    given, none = answered(scores, allowed)
    return given.masked_fill(none, NONE)


def _images(batch: TaskBatch, answers: np.ndarray) -> Figure:
    support_x, support_y, query_x, query_y = (t[0].cpu().numpy() for t in batch.tensors())
    classes = range(min(int(support_y.max()) + 1, MOST_CLASSES))
    support = [np.flatnonzero(support_y == c)[:MOST_SUPPORT] for c in classes]
    query = [np.flatnonzero(query_y == c)[:MOST_QUERIES] for c in classes]
    left, right = max(map(len, support)), max(map(len, query))
    wide = left + right + 0.8
    # Below the images stands a line of text, hence the extra height.
    figure = blank(max(0.62 * wide + 0.9, NARROWEST), 0.62 * len(classes) + 0.9)
    axes = figure.add_subplot()
    for c in classes:
        axes.text(-0.15, c + 0.5, f"{c}", ha="right", va="center", fontsize=11)
        for place, row in enumerate(support[c]):
            _image(axes, support_x[row], place, c, GREY)
        for place, row in enumerate(query[c]):
            right_answer = answers[row] == c
            x = left + 0.8 + place
            _image(axes, query_x[row], x, c, BLUE if right_answer else VERMILLION)
            if not right_answer:
                box = {"facecolor": VERMILLION, "edgecolor": "none", "pad": 1.2}
                corner = x + 1 - GAP, c + 1 - GAP, f"{answers[row]}" if answers[row] >= 0 else "–"
                axes.text(*corner, ha="right", va="bottom", fontsize=8, color="white", bbox=box)
    correct = int((answers == query_y).sum())
    axes.text(-0.15, -0.2, "class", ha="right", va="bottom", fontsize=10)
    axes.text(0, -0.2, "support", ha="left", va="bottom", fontsize=10)
    asked = int((query_y != IGNORE).sum())
    tally = f"queries: {correct} of {asked} right"
    shown = sum(map(len, query))
    tally += f" ({shown} shown)" if shown < asked else ""
    axes.text(left + 0.8, -0.2, tally, va="bottom", fontsize=10)
    axes.text(
        wide,
        len(classes) + 0.15,
        "blue: right; vermillion: wrong, with the class answered",
        ha="right",
        va="top",
        fontsize=8,
        color=GREY,
    )
    axes.set_xlim(-1.0, wide)
    axes.set_ylim(len(classes) + 0.45, -0.65)
    axes.set_aspect("equal")
    axes.axis("off")
    return figure


def _image(axes: Axes, image: np.ndarray, x: float, y: float, frame: str) -> None:
    # Scores of ink are drawn black on white; three channels are taken for colours.
    shown = image.transpose(1, 2, 0).clip(0, 1) if image.shape[0] == 3 else image[0]
    box = (x + GAP / 2, x + 1 - GAP / 2, y + 1 - GAP / 2, y + GAP / 2)
    axes.imshow(shown, cmap="Greys", extent=box, interpolation="nearest", vmin=0, vmax=1)
    size = 1 - GAP
    axes.add_patch(Rectangle((box[0], box[3]), size, size, fill=False, edgecolor=frame, linewidth=1.8))


def _fits(batch: TaskBatch, steps: np.ndarray) -> Figure:
    support_x, support_y, query_x, query_y = (t.cpu().numpy()[..., 0] for t in batch.tensors())
    figure = blank(3.8 * batch.tasks + 0.4, 3.6)
    row = figure.subplots(1, batch.tasks, sharey=True, squeeze=False)[0]
    for number, axes in enumerate(row):
        order = query_x[number].argsort()
        x = query_x[number][order]
        axes.plot(x, query_y[number][order], "o-", color="#c8c8c8", markersize=4, linewidth=3, label="truth")
        if len(steps) > 1:
            axes.plot(x, steps[0, number, order, 0], "--", color=VERMILLION, label="before adapting")
        after = f"after {len(steps) - 1} step{'' if len(steps) == 2 else 's'}" if len(steps) > 1 else "prediction"
        axes.plot(x, steps[-1, number, order, 0], "s-", color=BLUE, markersize=3, label=after)
        axes.plot(support_x[number], support_y[number], "^", color=BLACK, markersize=7, label="support points")
        error = float(np.mean((steps[-1, number, :, 0] - query_y[number]) ** 2))
        tidy(axes, "x", "" if number else "y", f"task {number + 1}: mean squared error {error:.3g}")
    handles, labels = row[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure
