"""Pages and pieces of HTML: from templates, with everything escaped, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from metaft.evaluation.style import inline_svg

_TEMPLATES = Path(__file__).with_name("templates")


class Cell(NamedTuple):
    """A cell of a table: its text, and the number by which it is sorted; NaN for none, None to sort by the text."""

    text: str
    key: float | None = None


class Line(NamedTuple):
    """A row of a table, bold or not."""

    cells: Sequence[Cell]
    best: bool = False


class Table(NamedTuple):
    """A table, and which of its columns are text."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Line]
    left: Sequence[int] = ()


def render(template: str, **values: Any) -> str:
    """A page.

    Args:
        template: its file in ``metaft/evaluation/templates``.
        values: what it names; texts are escaped, `drawing`s are not.

    Returns:
        HTML.
    """
    return _environment().get_template(template).render(values)


def drawing(figure: Figure, name: str) -> Markup:
    """A figure to stand in a page.

    Args:
        figure: what to draw.
        name: one of its own in the page: letters, digits and hyphens.

    Returns:
        An ``<svg>`` element.
    """
    return Markup(inline_svg(figure, name))


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
