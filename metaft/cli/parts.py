"""``metaft parts``."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem
from rich.console import Console

from metaft.cli.completion import words
from metaft.cli.defaults import default_text
from metaft.cli.screen import print_table
from metaft.errors import MetaftError, nearest
from metaft.parts import Table as Parts
from metaft.tables import TABLES


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return words(TABLES.get(str(ctx.params.get("kind")), ()))(ctx, param, incomplete)


@click.command("parts", epilog="Example:  metaft parts rule adam")
@click.argument("kind", required=False, shell_complete=words(TABLES))
@click.argument("name", required=False, shell_complete=_names)
def command(kind: str | None, name: str | None) -> None:
    """List the named parts that learners, networks and runs are put together from.

    Without arguments all tables; with KIND, such as rule, its parts; with KIND and NAME the options of one part. Parts
    are asked for by name, with options as in adam:beta1=0.5.
    """
    if kind is not None and kind not in TABLES:
        raise MetaftError(f"unknown kind of part {kind!r}{nearest(kind, TABLES)}")
    screen = Console(soft_wrap=True)
    shown = TABLES if kind is None else {kind: TABLES[kind]}
    if name is not None:
        table = shown[str(kind)]
        table.require(name)
        screen.print(f"[bold]{table.kind} {name}[/bold]: {table.summary(name)}", highlight=False)
        _options(screen, table, name)
        return
    for key, table in shown.items():
        screen.print(f"[bold]{key}[/bold]: {table.what}", highlight=False)
        rows = ((part, table.summary(part), ", ".join(table.own_options(part)) or "–") for part in table)
        print_table(("name", "what it is", "options"), rows)
    if kind is None:
        screen.print("next: metaft parts KIND NAME, such as metaft parts rule adam", highlight=False)


def _options(screen: Console, table: Parts[Any], name: str) -> None:
    found = table.options(name)
    if not found:
        screen.print("It has no options.", highlight=False)
        return
    rows = ((option.name, default_text(option.default), option.help) for option in found.values())
    print_table(("option", "default", "what it is"), rows)
