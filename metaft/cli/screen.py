"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]], bold: Collection[int] = ()) -> None:
    """Print a table whose cells are folded where the terminal is narrow.

    Args:
        heads: of the columns.
        rows: as many cells each.
        bold: the numbers of rows to stress.
    """
    table = Table(box=box.SIMPLE_HEAD)
    for head in heads:
        table.add_column(head, overflow="fold")
    for number, row in enumerate(rows):
        table.add_row(*(Text(str(cell)) for cell in row), style="bold" if number in bold else None)
    Console(soft_wrap=True).print(table)


def print_facts(facts: Mapping[str, str]) -> None:
    """Print what is known of one thing, a row each.

    Args:
        facts: by name.
    """
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts.items():
        table.add_row(name, Text(fact))
    Console(soft_wrap=True).print(table)


def print_line(line: str, style: str = "", to_user: bool = False) -> None:
    """Print a line as it is, however long.

    Args:
        line: the text.
        style: such as "dim".
        to_user: to standard error, as progress is.
    """
    Console(stderr=to_user, soft_wrap=True).print(Text(line, style=style))
