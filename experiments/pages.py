"""What all pages of results share: templates and their filters, and the options that say where things lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from metaft.evaluation.report import format_score, markdown_table
from metaft.evaluation.result import Result

ROOT = Path(__file__).parents[1]
_TEMPLATES = Environment(
    loader=FileSystemLoader(ROOT), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    undefined=StrictUndefined,
)  # fmt: skip


def render(template: str, **values: Any) -> str:
    """A page.

    Args:
        template: its file, from the root of the repository.
        values: what it names.

    Returns:
        Markdown.
    """
    return _TEMPLATES.get_template(template).render(values)


def folder_option(name: str, default: str, what: str) -> Callable[..., Any]:
    """An option ``--name`` for a folder, for a command."""
    return click.option(f"--{name}", default=default, show_default=True, type=click.Path(path_type=Path), help=what)


results_option = folder_option("results", "results", "where pages go")


def percent(share: float, digits: int = 1) -> str:
    """``12.3%`` of 0.123."""
    return f"{100 * share:.{digits}f}%"


def score(mean: float, metric: str, ci95: float = math.nan) -> str:
    """A score as text, with its interval where there is one."""
    return format_score(mean, ci95, metric)


def finite(value: float | None) -> float | None:
    """The number as JSON has it: None where it is none, infinite or not a number."""
    return value if value is not None and math.isfinite(value) else None


def spread(values: Iterable[float]) -> str:
    """Scores of several seeds as one text: mean and range, in per cent."""
    scores = [100 * value for value in values]
    return f"{sum(scores) / len(scores):.2f} ({min(scores):.2f}–{max(scores):.2f})"


def short_name(processor: str) -> str:
    """``Intel Xeon`` of ``Intel(R) Xeon(R) Processor``."""
    return " ".join(processor.replace("(R)", "").removesuffix("Processor").split())


def brief(result: Result) -> dict[str, Any]:
    """A result as JSON without the score of every task."""
    return {key: value for key, value in result.to_json().items() if key not in ("per_task", "diverged_tasks")}


def footer(command: str, numbers: str) -> str:
    """Where a page's numbers come from: the command, and the JSON with all that it needs to be made again."""
    return f"Command: `{command}`. Seeds, versions and machine: `{numbers}`."


_TEMPLATES.globals |= {"table": markdown_table, "footer": footer}
_TEMPLATES.filters |= {"fmt": format, "percent": percent, "spread": spread, "score": score, "processor": short_name}
