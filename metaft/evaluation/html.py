"""Pages and pieces of HTML: from templates, with everything escaped, and nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from metaft.evaluation.style import inline_svg

_TEMPLATES = Path(__file__).with_name("templates")


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
