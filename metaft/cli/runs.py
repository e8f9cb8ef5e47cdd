"""``metaft runs``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from metaft.cli.screen import print_line


@click.command("runs", epilog="Example:  metaft runs runs/sweep --json")
@click.argument("folder", type=click.Path(), default="runs")
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of a table")
def command(folder: str, as_json: bool) -> None:
    """List the runs in FOLDER [runs] and below: state, progress, best validation score, last update.

    "interrupted" is a run that says it is running while no process holds it: it was killed, --resume goes on.
    """
    from metaft.runs.listing import HEADS, list_runs

    found = list_runs(folder)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(run) for run in found], indent=1))
        return
    if not found:
        click.echo(f"no runs in {folder}")
        return
    rows = [run.row(Path(folder)) for run in found]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    longest = min(max(len(row[0]) for row in rows), 40)
    for head, least in zip(HEADS, (longest, None, 8, None, 14, None, 8), strict=True):
        table.add_column(head, overflow="fold", no_wrap=head in ("state", "validation", "updated"), min_width=least)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(soft_wrap=True).print(table)
    for run in found:
        if run.reason:
            print_line(f"{run.path}: {run.reason}", style="dim")
