"""``metaft data``."""

from __future__ import annotations

import click


@click.command("data", epilog="Example:  metaft data --data-root data")
@click.option("--data-root", type=click.Path(), help="where to look first; then METAFT_DATA, then ./data")
def command(data_root: str | None) -> None:
    """List the data sets: what they hold, where they were found, how they are split, their licences."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from metaft.data.catalog import DATASETS

    table = Table(box=box.SIMPLE_HEAD)
    for head in ("data set", "what", "counts", "found", "splits by", "licence"):
        table.add_column(head, overflow="fold")
    for info in DATASETS.values():
        found = info.where(data_root) or "not found"
        table.add_row(
            info.name, info.description, info.counts, found, ", ".join(info.schemes) or "–", info.licence
        )
    Console().print(table)
