"""``metaft data``."""

from __future__ import annotations

import click
from rich import box
from rich.console import Console
from rich.table import Table


@click.command("data", epilog="Example:  metaft data --data-root data")
@click.option("--data-root", type=click.Path(), help="where to look first; then METAFT_DATA, then ./data")
def command(data_root: str | None) -> None:
    """List the data sets: what they hold, where they were found, how they are split, their licences."""
    from metaft.data.catalog import DATASETS

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("data set", style="bold", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    for info in DATASETS.values():
        rows = {"what": info.description, "counts": info.counts, "found": info.where(data_root) or "not found"}
        if info.schemes:
            rows["split by"] = ", ".join(info.schemes)
        rows["licence"] = info.licence
        for number, (head, text) in enumerate(rows.items()):
            table.add_row(info.name if number == 0 else "", head, text, end_section=number == len(rows) - 1)
    Console().print(table)
