"""What ``metaft distill`` shows at its end: a row a generation and ensemble, where things lie, what to do next."""

from __future__ import annotations

import shlex

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from metaft.environment import program
from metaft.runs.distill_report import HEADS, Report

WIDE = 120
"""Columns of a table in a file."""


def say(line: str) -> None:
    """Print one line of progress."""
    Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)


def show_report(report: Report) -> None:
    """Print a table and the next commands.

    Args:
        report: of the finished distillation.
    """
    line, config = report.line, report.line.config
    rows = [row.cells() for row in (*report.rows, *report.derived)]
    used = [place for place in range(len(HEADS)) if any(cells[place] != "–" for cells in rows)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place in used:
        table.add_column(HEADS[place], justify="right" if place else "left")
    for number, cells in enumerate(rows):
        chosen = number < len(report.rows) and report.line.generations[number] is line.best
        ends = number == len(report.rows) - 1
        table.add_row(*(Text(cells[place]) for place in used), style="bold" if chosen else None, end_section=ends)
    console = Console(soft_wrap=True)
    # A narrow terminal folds intervals under their means; in a file there is room.
    (console if console.is_terminal else Console(width=WIDE)).print(table)
    what = "held-out examples" if config.validation == "classification" else "tasks of other classes"
    notes = [
        f"mean ± 95% interval over {what}, {report.rows[0].count:,} for the test; bold: the best by validation;",
        "agree: with the generation before; entropy: of the soft labels learned from, nats; below: mean probabilities",
    ]
    if line.tried:
        tried = ", ".join(f"{t:g}: {100 * value:.2f} %" for t, value in sorted(line.tried.items()))
        notes.append(f"temperature by validation: {tried}")
    notes += [line.stopped] if line.stopped else []
    for note in notes:
        console.print(Text(note, style="dim"))
    where = shlex.quote(str(line.out))
    console.print(Text(f"written  {line.out}: distillation.json, soft_labels.png, a run a generation"))
    if config.validation == "few-shot":
        members = " ".join(f"class-means:backbone={shlex.quote(str(g.path))}" for g in line.generations)
        console.print(Text(f"next  {program()} compare {members} --dataset {config.dataset}"))
    else:
        best = shlex.quote(str(line.best.path))
        console.print(Text(f"next  {program()} distill --dataset {config.dataset} --teacher {best} --out {where}-next"))
    console.print(Text(f"      {program()} tensorboard {where}"))
