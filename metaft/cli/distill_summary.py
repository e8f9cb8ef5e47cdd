"""What ``metaft distill`` shows at its end: a row a generation and ensemble, where things lie, what to do next."""

from __future__ import annotations

import functools
import shlex

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from metaft.cli.screen import print_line
from metaft.commands.distill.report import HEADS, Report
from metaft.environment import program
from metaft.runs.recorded import option_words
from metaft.settings.config import validated
from metaft.settings.distill import DistillConfig
from metaft.settings.family import FamilySettings

WIDE = 120
"""Columns of a table in a file."""

say = functools.partial(print_line, to_user=True)


def show_report(report: Report) -> None:
    """Print a table and the next commands.

    Args:
        report: of the finished distillation.
    """
    line, config = report.line, report.line.config
    rows = [row.cells() for row in (*report.rows, *report.derived)]
    used = [place for place in range(len(HEADS)) if any(cells[place] != "–" for cells in rows)]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for place in used:
        table.add_column(HEADS[place], justify="right" if place else "left")
    for number, cells in enumerate(rows):
        chosen = number < len(report.rows) and line.generations[number] is line.best
        ends = number == len(report.rows) - 1
        table.add_row(*(Text(cells[place]) for place in used), style="bold" if chosen else None, end_section=ends)
    console = Console()
    # A narrow terminal folds intervals under their means; in a file there is room.
    (console if console.is_terminal else Console(width=WIDE)).print(table)
    for note in _notes(report):
        print_line(note, style="dim")
    where = shlex.quote(str(line.out))
    print_line(f"written  {line.out}: distillation.json, soft_labels.png, a run a generation")
    if config.validation == "few-shot":
        tasks = shlex.join(["--dataset", config.dataset, *_words_of_tasks(config)])
        members = " ".join(f"class-means:backbone={shlex.quote(str(g.path))}" for g in line.generations)
        following = f"compare {members} {tasks}"
    elif line.best is line.generations[-1] and not line.stopped:
        following = f"distill --resume --generations {line.best.number + 2} --out {where}"
    else:
        following = f"show {shlex.quote(str(line.best.path))}"
    print_line(f"next  {program()} {following}\n      {program()} tensorboard {where}")


def _notes(report: Report) -> list[str]:
    """What the table's numbers are."""
    line, config = report.line, report.line.config
    what = "held-out examples" if config.validation == "classification" else "tasks of other classes"
    notes = [
        f"± 95% interval over {report.rows[0].count:,} {what}, for these weights (one seed);",
        "bold: the best by validation;",
        "agree: with the generation before; entropy: of its teacher's soft labels, nats;",
        "below the line: generations together, by their mean probabilities",
    ]
    if config.leave_out is not None:
        notes.append(f"left out: errors on class {config.leave_out}; *: its bias corrected by validation")
    if line.tried:
        tried = ", ".join(f"{t:g}: {100 * value:.2f} %" for t, value in sorted(line.tried.items()))
        notes.append(f"temperature by validation: {tried}")
    return [*notes, line.stopped] if line.stopped else notes


def _words_of_tasks(config: DistillConfig) -> list[str]:
    """What ``metaft compare`` has to be told about the tasks, beside the data set."""
    plain = validated(DistillConfig, {"dataset": config.dataset})
    names = [n for n in FamilySettings.model_fields if n != "dataset" and not n.startswith("fewest_")]
    told = {name: getattr(config, name) for name in names if getattr(config, name) != getattr(plain, name)}
    return [word for name, value in told.items() for word in option_words(name, value)]
