"""Image queries as a picture: each with the answer it was given, the support set above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from metaft.evaluation.style import BLUE, GREY, VERMILLION, blank

SIDE = 112
"""Pixels that an image is drawn from."""
ACROSS, MOST_QUERIES, MOST_CLASSES, MOST_SUPPORT = 10, 60, 12, 5
LONGEST = 13
"""Characters of a class's name that fit below an image."""


@dataclass(frozen=True)
class Shown:
    """A query and its answer.

    Args:
        picture: ``uint8 [height, width, 3]``.
        answer: the class.
        probability: of it.
        label: the class it is of; empty where nothing says it.
    """

    picture: np.ndarray
    answer: str
    probability: float
    label: str = ""


def answer_figure(queries: Sequence[Shown], support: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """Draw queries with their answers.

    Args:
        queries: in order; no more than ``MOST_QUERIES`` are drawn.
        support: class → its pictures; empty where they are not at hand.

    Returns:
        The figure: the support set, a row a class, then the queries, framed in blue where the answer is right, in
        vermillion where it is wrong, in grey where nobody says.
    """
    drawn, classes = queries[:MOST_QUERIES], list(support)[:MOST_CLASSES]
    rows = -(-len(drawn) // ACROSS)
    across = min(ACROSS, max(len(drawn), *(len(support[name][:MOST_SUPPORT]) + 2 for name in classes), 4))
    top = len(classes) + (0.8 if classes else 0.0)
    height = top + 0.5 + 1.5 * rows
    figure = blank(0.85 * across + 0.3, 0.85 * height + 0.3)
    axes = figure.add_subplot()
    if classes:
        axes.text(0, 0.4, _title("support", len(classes), len(support), "classes"), fontsize=10)
    for row, name in enumerate(classes):
        for place, picture in enumerate(support[name][:MOST_SUPPORT]):
            _image(axes, picture, place, row + 0.6, GREY)
        beside = min(len(support[name]), MOST_SUPPORT)
        axes.text(beside + 0.1, row + 1.1, _short(name, 3 * LONGEST), va="center", fontsize=9)
    known = [one for one in queries if one.label]
    told = _title("queries", len(drawn), len(queries), "shown")
    if known:
        told += f": {sum(one.label == one.answer for one in known)} of {len(known)} right"
    axes.text(0, top + 0.35, told, fontsize=10)
    for number, one in enumerate(drawn):
        row, place = divmod(number, ACROSS)
        frame = (BLUE if one.answer == one.label else VERMILLION) if one.label else GREY
        y = top + 0.5 + 1.5 * row
        _image(axes, one.picture, place, y, frame)
        line = f"{_short(one.answer, LONGEST)}\n{100 * one.probability:.0f}%"
        axes.text(
            place + 0.5, y + 1.02, line, ha="center", va="top", fontsize=7, color=GREY if not one.label else frame
        )
    axes.set_xlim(-0.1, across + 0.1)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    axes.axis("off")
    return figure


def _title(what: str, drawn: int, there: int, noun: str) -> str:
    return what if drawn == there else f"{what} ({drawn} of {there} {noun})"


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _image(axes: Axes, picture: np.ndarray, x: float, y: float, frame: str) -> None:
    axes.imshow(picture, extent=(x + 0.05, x + 0.95, y + 0.95, y + 0.05), interpolation="bilinear")
    axes.add_patch(Rectangle((x + 0.05, y + 0.05), 0.9, 0.9, fill=False, edgecolor=frame, linewidth=1.8))
