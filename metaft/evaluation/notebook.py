"""What a notebook shows of a result and of a comparison: tables and pictures, without a script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from metaft.evaluation import comparison_plots as plots
from metaft.evaluation import html
from metaft.evaluation.comparison import Comparison
from metaft.evaluation.comparison_html import tables
from metaft.evaluation.html import Cell, Line, Table
from metaft.evaluation.plots import accuracy_per_step
from metaft.evaluation.result import Result
from metaft.evaluation.wording import LABELS, format_score


def comparison_html(comparison: Comparison) -> str:
    """A comparison: its tables, and its scores against shots and against inner steps.

    Args:
        comparison: what to show.

    Returns:
        HTML.
    """
    figures = {"score against shots": plots.against_shots(comparison)}
    if (steps := plots.against_steps(comparison)) is not None:
        figures["score against inner steps"] = steps
    return _fragment(repr(comparison), tables(comparison), figures)


def result_html(result: Result) -> str:
    """A result: a row an inner step, and a picture where there are several.

    Args:
        result: what to show.

    Returns:
        HTML.
    """
    stepwise = len(result.steps) > 1
    heads = [*(["inner steps"] if stepwise else []), LABELS[result.metric], "median", "diverged"]
    rows = []
    for number, step in enumerate(result.steps):
        scores = [(step.mean, step.ci95), (step.median, math.nan)]
        cells = [str(number)] if stepwise else []
        cells += [*(format_score(*score, result.metric) for score in scores), str(step.diverged)]
        rows.append(Line([Cell(cell) for cell in cells], best=stepwise and number == len(result.steps) - 1))
    figures = {"score after each inner step": accuracy_per_step(result)} if stepwise else {}
    return _fragment(repr(result), [Table(f"mean ± 95% interval over {result.tasks} tasks", heads, rows)], figures)


def _fragment(summary: str, shown: Sequence[Table], figures: Mapping[str, Figure]) -> str:
    drawings = {caption: html.drawing(figure, f"f{n}") for n, (caption, figure) in enumerate(figures.items())}
    return html.render("fragment.html.j2", summary=summary, tables=shown, drawings=drawings)
