"""Results as tables for the terminal, Markdown for a page, and JSON that says how they were made."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from metaft.environment import environment
from metaft.errors import MetaftError
from metaft.evaluation.result import Result
from metaft.evaluation.wording import LABELS, describe_family, describe_method, format_score
from metaft.files import write_atomically


def result_table(result: Result) -> Group:
    """One result, a row per inner step.

    Args:
        result: what to show.

    Returns:
        For rich to print: the mode (transductive or inductive) stands above the table, what diverged below.
    """
    caption = f"mean ± 95% interval over {result.tasks} tasks; {result.seconds:.1f} s"
    if result.diverged:
        shown = ", ".join(map(str, result.diverged_tasks[:8])) + (", …" if result.diverged > 8 else "")
        fate = "left out of the mean" if result.metric == "mse" else "answers of NaN or +inf counted as wrong"
        caption += f"\n{result.diverged} diverged ({fate}): task {shown}"
    title = f"{result.learner['name']} on {describe_family(result.family)} · {result.mode}"
    method = describe_method(result.learner)
    title += f"\n{method}" if method else ""
    table = Table(box=box.SIMPLE_HEAD)
    stepwise = len(result.steps) > 1
    if stepwise:
        table.add_column("inner steps", justify="right")
    for name in (LABELS[result.metric], "median", "diverged"):
        table.add_column(name, justify="right")
    for number, step in enumerate(result.steps):
        row = [
            format_score(step.mean, step.ci95, result.metric),
            format_score(step.median, math.nan, result.metric),
            str(step.diverged),
        ]
        last = stepwise and number == len(result.steps) - 1
        table.add_row(*([str(number)] if stepwise else []), *row, style="bold" if last else None)
    return _framed(title, table, caption)


def comparison_rows(results: Mapping[str, Result]) -> tuple[list[str], list[list[str]]]:
    """Several results on one kind of task, a row each, for `comparison_table` or `markdown_table`.

    Args:
        results: by the name to show.

    Returns:
        Column heads and rows.

    Raises:
        MetaftError: if accuracies and errors are mixed, or there is nothing to compare.
    """
    metrics = {result.metric for result in results.values()}
    if len(metrics) != 1:
        raise MetaftError(f"results of one metric can be compared, got {sorted(metrics) or 'none'}")
    heads = ["learner", "before", "steps", LABELS[metrics.pop()], "mode", "tasks", "diverged"]
    rows = []
    for name, result in results.items():
        stepwise = len(result.steps) > 1
        before = format_score(*result.per_step[0], result.metric) if stepwise else "–"
        after = format_score(result.mean, result.ci95, result.metric)
        count = str(len(result.steps) - 1) if stepwise else "–"
        rows.append([name, before, count, after, result.mode, str(result.tasks), str(result.diverged)])
    return heads, rows


def comparison_table(results: Mapping[str, Result], title: str = "") -> Group:
    """Several results side by side.

    Args:
        results: by the name to show.
        title: stands above.

    Returns:
        For rich to print; columns that tell nothing apart (tasks, diverged) are left out.

    Raises:
        MetaftError: as `comparison_rows`.
    """
    heads, rows = comparison_rows(results)
    hidden = {"tasks"} if len({result.tasks for result in results.values()}) == 1 else set()
    hidden |= set() if any(result.diverged for result in results.values()) else {"diverged"}
    shown = [place for place, head in enumerate(heads) if head not in hidden]
    table = Table(box=box.SIMPLE_HEAD)
    for place in shown:
        justify: Literal["left", "right"] = "left" if heads[place] in ("learner", "mode") else "right"
        table.add_column(heads[place], justify=justify, no_wrap=heads[place] != "learner")
    for row in rows:
        table.add_row(*(row[place] for place in shown))
    tasks = f"{rows[0][heads.index('tasks')]} tasks" if "tasks" in hidden else "tasks"
    return _framed(title, table, f"mean ± 95% interval over {tasks}")


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table.

    Args:
        heads: column heads.
        rows: as many cells each; ``|`` and line breaks in a cell are escaped.

    Returns:
        Its lines, ending in a line break.

    Raises:
        MetaftError: if a row has another number of cells.
    """
    for row in rows:
        if len(row) != len(heads):
            raise MetaftError(f"a table of {len(heads)} columns got a row of {len(row)} cells: {list(row)}")
    cells = [[_cell(value) for value in row] for row in (heads, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    lines.insert(1, "|" + " --- |" * len(heads))
    return "\n".join(lines) + "\n"


def write_result(
    path: str | Path,
    results: Mapping[str, Result | Mapping[str, Any]],
    command: str | Sequence[str],
    seeds: Sequence[int],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write results as JSON with all that is needed to make them again.

    Args:
        path: the file to make or replace, whole or not at all.
        results: by name; a `Result`, or numbers of one's own.
        command: what was typed, as a line or as its words.
        seeds: every seed that took part.
        extra: further top-level entries.

    Raises:
        MetaftError: if something is not plain JSON (a tensor, NaN), an entry's name is taken, or the file
            cannot be written.
    """
    page = {
        "command": command if isinstance(command, str) else shlex.join(command),
        "seeds": list(seeds),
        **environment(),
        "results": {k: v.to_json() if isinstance(v, Result) else dict(v) for k, v in results.items()},
    }
    taken = sorted(set(page) & set(extra or {}))
    if taken:
        raise MetaftError(f"extra entries cannot be named {', '.join(taken)}: those are written anyway")
    try:
        text = json.dumps({**page, **(extra or {})}, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MetaftError(f"cannot write {path}: not plain JSON: {error}") from error
    write_atomically(path, (text + "\n").encode())


def _framed(title: str, table: Table, caption: str) -> Group:
    # A table's own title and caption would be wrapped to the width of its columns.
    return Group(*([Text(title, style="bold")] if title else []), table, Text(caption, style="dim"))


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", "<br>")
