"""How figures look: colour-blind-safe, plain axes, drawn without a display or any global state."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metaft.errors import MetaftError
from metaft.files import write_atomically

# Okabe & Ito 2008, "Color Universal Design"; yellow is left out, being too pale for a line on white.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK, GREY = "#56B4E9", "#E69F00", "#000000", "#767676"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


class Picture(Figure):
    """A figure that a notebook shows by itself, without a drawing back end."""

    def _repr_png_(self) -> bytes:
        return _bytes(self, "png", 100)


def blank(width: float, height: float) -> Figure:
    """An empty figure that renders without a display.

    Args:
        width: inches.
        height: inches.

    Returns:
        A figure outside of pyplot's bookkeeping, so that dropping it frees it.
    """
    figure = Picture(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Label axes and take away what carries no information.

    Args:
        axes: what to tidy.
        x: label of the horizontal axis, with its unit.
        y: label of the vertical axis, with its unit.
        title: stands above, on the left.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="y", color="#e3e3e3", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    axes.set_xlabel(x, fontsize=10)
    axes.set_ylabel(y, fontsize=10)
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)


def series(number: int) -> dict[str, Any]:
    """Colour and marker of the n-th line: told apart by shape as well as by colour.

    Args:
        number: from 0; repeats after seven.

    Returns:
        Keywords for `Axes.plot`.
    """
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


FORMATS = (".png", ".pdf", ".svg")
"""Endings of a figure's file."""


def save(fig: Figure, path: str | Path, dpi: int = 150) -> None:
    """Write a figure as PNG, PDF or SVG, whole or not at all; equal figures become equal files.

    Args:
        fig: what to write.
        path: ends in ``.png``, ``.pdf`` or ``.svg``, which says the format.
        dpi: dots per inch, of a PNG.

    Raises:
        MetaftError: on another ending, or if the file cannot be written.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise MetaftError(f"figures are written as PNG, PDF or SVG; give {path} the ending .png, .pdf or .svg")
    write_atomically(path, _bytes(fig, ending[1:], dpi))


def inline_svg(fig: Figure, prefix: str) -> str:
    """A figure as an ``<svg>`` element that may stand in a page beside others; letters are drawn as paths.

    Args:
        fig: what to draw.
        prefix: of all its identifiers, one of its own in the page: letters, digits and hyphens.

    Returns:
        The element, without a prolog or anything from elsewhere.
    """
    page = _bytes(fig, "svg", 72).decode()
    page = re.sub(r"<metadata>.*?</metadata>", "", page[page.index("<svg") :], flags=re.DOTALL)
    page = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", page)
    return re.sub(r"<!--.*?-->", "", page, flags=re.DOTALL)  # the text of each label, which could hold anything


def _bytes(fig: Figure, kind: str, dpi: int) -> bytes:
    page = io.BytesIO()
    dates = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with rc_context({"svg.hashsalt": "metaft", "svg.fonttype": "path", "pdf.fonttype": 42}):
        fig.savefig(page, format=kind, dpi=dpi, metadata=dates[kind])
    return page.getvalue()
