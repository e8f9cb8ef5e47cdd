"""Names where lines end, in place of a legend: moved apart so that none lies on another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

BESIDE = 1.03
"""Where a name begins, in widths of the axes."""
POINT = 1 / 72
"""Inches."""


class Named(NamedTuple):
    """A line's end, and what is to stand there.

    Args:
        name: the text.
        x: of the end, in the axes' data.
        y: likewise.
        colour: of the text and of what ties it to the end.
    """

    name: str
    x: float
    y: float
    colour: str


def name_ends(axes: Axes, ends: Sequence[Named], height: float, size: float = 9.0) -> None:
    """Write a name beside the end of every line, tied to it; the axes' limits and scales have to be final.

    Args:
        axes: of the lines.
        ends: a line each; one whose place is no number is passed over.
        height: of the axes, at least, in inches: names are put apart by their own height in it.
        size: of the letters, in points; smaller where so many would not fit.
    """
    there = [end for end in ends if np.isfinite([end.x, end.y]).all()]
    if not there:
        return
    at = (axes.transData + axes.transAxes.inverted()).transform([(end.x, end.y) for end in there])
    size = min(size, height / len(there) / (1.25 * POINT))
    places = spread(at[:, 1], min(1.3 * size * POINT / height, 1.0 / len(there)))
    for (name, _, _, colour), (x, y), place in zip(there, at, places, strict=True):
        tie = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6, "shrinkA": 0, "shrinkB": 0,
               "relpos": (0, 0.5)}  # fmt: skip
        axes.annotate(
            name, (x, y), (BESIDE, place), xycoords="axes fraction", textcoords="axes fraction",
            fontsize=size, va="center", color=colour, annotation_clip=False, arrowprops=tie, parse_math=False,
        )  # fmt: skip


def spread(heights: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Move labels apart, as little as needed.

    Args:
        heights: ``[labels]``, where they would like to be.
        least: the smallest distance between two.

    Returns:
        ``[labels]`` from 0 to 1 (if there is room), in the same order from bottom to top.
    """
    order = np.argsort(heights, kind="stable")
    # Blocks of labels that touch; each lies where the mean distance from the wishes is least.
    blocks: list[list[float]] = []
    for rank, wish in enumerate(heights[order]):
        blocks.append([wish - rank * least])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    steps = least * np.arange(len(heights))
    placed = np.concatenate([np.full(len(block), _mean(block)) for block in blocks]) + steps
    placed = np.maximum(np.minimum(placed, 1 - steps[::-1]), steps)
    found = np.empty_like(placed)
    found[order] = placed
    return found


def _mean(block: list[float]) -> float:
    return sum(block) / len(block)
