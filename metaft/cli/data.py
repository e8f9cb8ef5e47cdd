"""``metaft data``."""

from __future__ import annotations

from collections.abc import Mapping

import click
from rich import box
from rich.console import Console
from rich.table import Table


@click.command("data", epilog="Example:  metaft data --data-root data")
@click.option("--data-root", type=click.Path(), help="where to look first; then METAFT_DATA, then ./data")
def command(data_root: str | None) -> None:
    """List the data sets, the plain texts to pretrain on, then the dialogues to tune by.

    What they hold, where they were found, how they are split, their licences.
    """
    from metaft.data.catalog import DATASETS
    from metaft.data.dialogues.sets import SETS
    from metaft.data.texts.corpora import CORPORA

    sets: dict[str, dict[str, str | None]] = {}
    corpora: dict[str, dict[str, str | None]] = {}
    for info in DATASETS.values():
        sets[info.name] = {"what": info.description, "counts": info.counts, "found": info.where(data_root)}
        if info.schemes:
            sets[info.name]["split by"] = ", ".join(info.schemes)
        if info.groups:
            sets[info.name]["within"] = info.groups
        sets[info.name]["licence"] = info.licence
    dialogues: dict[str, dict[str, str | None]] = {}
    for entries, some in ((corpora, CORPORA.values()), (dialogues, SETS.values())):
        for one in some:
            entries[one.name] = {"what": one.description, "counts": one.counts, "found": one.where(data_root)}
            entries[one.name]["licence"] = one.licence
    for title, entries in (("data set", sets), ("corpus", corpora), ("dialogues", dialogues)):
        Console().print(_listed(title, entries))


def _listed(title: str, entries: Mapping[str, Mapping[str, str | None]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(title, style="bold", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    for name, rows in entries.items():
        for number, (head, text) in enumerate(rows.items()):
            last = number == len(rows) - 1
            table.add_row(name if number == 0 else "", head, text or "not found", end_section=last)
    return table
