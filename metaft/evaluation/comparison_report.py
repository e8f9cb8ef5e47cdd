"""A comparison as tables for the terminal and Markdown, and as JSON."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from metaft.evaluation.comparison import Comparison, Row
from metaft.evaluation.difference import BOTH, WEIGHTS
from metaft.evaluation.report import LABELS, describe_family, describe_method, format_score, markdown_table
from metaft.plain_json import finite

KEPT = 5
"""Columns that a narrow terminal shows in any case: who, how well, and in which mode."""

NARROWEST, GAP = 16, 2
"""Characters a label has before it is folded, and between columns."""

OF_WEIGHTS, STARRED = f", {WEIGHTS}", "*"
"""What stands beside a difference that says nothing about other seeds, and in its place where there is no room."""


def table_rows(comparison: Comparison, shots: int) -> tuple[list[str], list[list[str]]]:
    """The table at one number of shots.

    Args:
        comparison: what to show.
        shots: at which number.

    Returns:
        Column heads and rows of text.
    """
    metric = comparison.metric
    heads = ["learner", LABELS[metric], "seeds: min–max", f"against {comparison.baseline}", "mode", "adapts",
             "parameters", "kB a task", "ms a task", "peak MB"]  # fmt: skip
    rows = comparison.rows(shots)
    cells = [
        [
            row.label,
            format_score(row.score.mean, row.score.ci95, metric),
            _spread(row, metric),
            _gap(row, metric),
            row.mode,
            "–" if row.adapts is None else f"{row.adapts:,}",
            f"{row.parameters:,}",
            "–" if row.bytes_per_task is None else f"{row.bytes_per_task / 1000:,.1f}",
            f"{1000 * row.seconds_per_task:.3g}",
            "–" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:,.0f}",
        ]
        for row in rows
    ]
    if any(row.score.diverged for row in rows):
        heads.insert(KEPT, "diverged")
        for cell, row in zip(cells, rows, strict=True):
            cell.insert(KEPT, str(row.score.diverged))
    return heads, cells


def screen(comparison: Comparison, console: Console) -> Group:
    """All tables, for rich to print.

    Args:
        comparison: what to show.
        console: a narrow one is given fewer columns; the files have them all.

    Returns:
        A table a number of shots.
    """
    parts: list[RenderableType] = []
    for shots in comparison.shots:
        heads, rows = table_rows(comparison, shots)
        parts += [Text(_title(comparison, shots), style="bold"), _table(heads, rows, console.width)]
    return Group(*parts, Text(note(comparison), style="dim"))


def markdown(comparison: Comparison, command: str, pictures: dict[str, str]) -> str:
    """A page with all tables and pictures.

    Args:
        comparison: what to show.
        command: what made it.
        pictures: file name by caption.

    Returns:
        Markdown.
    """
    page = [f"# {describe_family(comparison.family)}", f"`{command}`"]
    for shots in comparison.shots:
        heads, rows = table_rows(comparison, shots)
        page += [f"## {_title(comparison, shots)}", markdown_table(heads, rows).rstrip()]
        page += [f"sha256 of the tasks: `{comparison.checksums[shots]}`, the same for every learner."]
    page += [note(comparison), *(f"![{caption}]({file})" for caption, file in pictures.items())]
    return "\n\n".join(page) + "\n"


def results(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """The tables as plain JSON values.

    Args:
        comparison: what to write.

    Returns:
        By learner: its origin and, by number of shots, what the table says.
    """
    return {
        label: {
            "origins": [dict(cell.origin) for cell in comparison.of(label, comparison.shots[0])],
            "shots": {
                str(shots): finite(dataclasses.asdict(row))
                for shots in comparison.shots
                for row in comparison.rows(shots)
                if row.label == label
            },
        }
        for label in comparison.labels
    }


def note(comparison: Comparison) -> str:
    """What the columns mean."""
    better = "higher" if comparison.metric == "accuracy" else "lower"
    text = (
        f"{comparison.tasks} tasks at each number of shots, the same for every learner; {better} is better. ± of a "
        "score is half of the 95% interval over tasks, of each task's mean over seeds; min–max is over the seeds' "
        f"means, – where there are no seeds. {_differences(comparison)} adapts: numbers that change per task. kB a "
        "task: to store them in float32, beside one network for all tasks. ms a task: to adapt and answer once. "
        "peak MB: resident memory added."
    )
    if "words" in comparison.family:
        text += (
            " Features of a text are computed once: of learners on one frozen network the first, at its first number "
            "of shots, has them in its ms a task, the others have not."
        )
    if comparison.metric == "mse":
        text += " A task that diverged with any seed is left out of a mean and of its paired differences."
    elif any(cell.result.diverged_tasks for cell in comparison.cells):
        text += " diverged: tasks with an answer of NaN or +inf; such an answer counts as wrong."
    methods = {label: _method(comparison, label) for label in comparison.labels}
    return text + "".join(f" {label}: {method}." for label, method in methods.items() if method)


def _differences(comparison: Comparison) -> str:
    """What the intervals of the differences range over, and what a verdict is of."""
    gaps = [row.gap for shots in comparison.shots for row in comparison.rows(shots) if row.gap is not None]
    said = [f"against {comparison.baseline}: the difference on the same tasks; better or worse where its 95% interval "
            "excludes 0."]  # fmt: skip
    if any(gap.ranges_over == BOTH for gap in gaps):
        seeds = "the seeds of two learners being independent of each other"
        if any(gap.paired for gap in gaps):
            seeds = "seed s held against seed s"
        said.append(
            f"Of learners with several seeds it ranges over tasks and seeds, {seeds}, and speaks of the method "
            "unless marked."
        )
    if any(gap.ranges_over != BOTH for gap in gaps):
        said.append("Of learners without several seeds it ranges over tasks.")
    if any(gap.about == WEIGHTS for gap in gaps):
        said.append(f"{WEIGHTS} ({STARRED} where there is no room): one of the two has weights or a seed, and only one "
                    "of them; other seeds of the method may differ by more.")  # fmt: skip
    if len(gaps) > 1:
        said.append("Each verdict is for one pair: of twenty pairs of equal methods one is expected to be told apart.")
    return " ".join(said)


def _method(comparison: Comparison, label: str) -> str:
    """What a learner's inner loop is made of; empty for one that has none."""
    settings = comparison.of(label, comparison.shots[0])[0].origin.get("settings", {})
    return describe_method(settings) if isinstance(settings, dict) else ""


def _table(heads: list[str], rows: list[list[str]], room: int) -> Table:
    """As many columns as the room holds; heads and labels may be folded, numbers not."""
    columns = len(heads)
    if _least_width(heads, rows, columns) > room:
        rows = [[cell.replace(OF_WEIGHTS, STARRED) for cell in row] for row in rows]
    while columns > KEPT and _least_width(heads, rows, columns) > room:
        columns -= 1
    widths = _widths(heads, rows)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False)
    table.add_column(heads[0], overflow="fold")
    for head, width in zip(heads[1:columns], widths[1:], strict=False):
        table.add_column(head, justify="left" if head == "mode" else "right", width=width)
    for row in rows:
        table.add_row(*row[:columns])
    return table


def _widths(heads: list[str], rows: list[list[str]]) -> list[int]:
    return [max(map(len, [*head.split(), *cells])) for head, *cells in zip(heads, *rows, strict=True)]


def _least_width(heads: list[str], rows: list[list[str]], columns: int) -> int:
    """Characters that so many columns take, with the label folded as narrow as it may be."""
    return NARROWEST + sum(_widths(heads, rows)[1:columns]) + GAP * columns


def _title(comparison: Comparison, shots: int) -> str:
    return describe_family({**comparison.family, "shots": shots})


def _spread(row: Row, metric: str) -> str:
    if row.seeds is None:
        return "–"
    if row.seeds.seeds == 1:
        return "one seed"
    low, high = (format_score(value, math.nan, metric) for value in (row.seeds.low, row.seeds.high))
    return f"{low}–{high}"


def _gap(row: Row, metric: str) -> str:
    if row.gap is None:
        return "baseline"
    sign = "−" if row.gap.mean < 0 else "+"
    text = format_score(abs(row.gap.mean), row.gap.ci95, metric)
    if not math.isfinite(row.gap.mean):
        return text
    whose = OF_WEIGHTS if row.gap.about == WEIGHTS else ""
    return f"{sign}{text}{whose} {row.verdict}".rstrip()
