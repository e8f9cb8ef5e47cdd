"""How figures look: colour-blind-safe, plain axes, drawn without a display or any global state."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

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


def blank(width: float, height: float) -> Figure:
    """An empty figure that renders without a display.

    Args:
        width: inches.
        height: inches.

    Returns:
        A figure outside of pyplot's bookkeeping, so that dropping it frees it.
    """
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
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
    axes.set_title(title, fontsize=10, loc="left")


def series(number: int) -> dict[str, Any]:
    """Colour and marker of the n-th line: told apart by shape as well as by colour.

    Args:
        number: from 0; repeats after seven.

    Returns:
        Keywords for `Axes.plot`.
    """
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def save(fig: Figure, path: str | Path, dpi: int = 150) -> None:
    """Write a figure as PNG, whole or not at all.

    Args:
        fig: what to write.
        path: ends in ``.png``.
        dpi: dots per inch.

    Raises:
        MetaftError: on another ending, or if the file cannot be written.
    """
    if Path(path).suffix.lower() != ".png":
        raise MetaftError(f"figures are written as PNG; give {path} the ending .png")
    page = io.BytesIO()
    fig.savefig(page, format="png", dpi=dpi)
    write_atomically(path, page.getvalue())
