"""``metaft zoo``."""

from __future__ import annotations

from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from metaft import zoo
from metaft.cli.completion import words
from metaft.cli.screen import print_facts, print_line


@click.command("zoo", epilog="Example:  metaft predict zoo:maml-omniglot-5way --support known --query inbox")
@click.argument("name", required=False, shell_complete=words(zoo.names))
def command(name: str | None) -> None:
    """List the trained learners that come with metaft, or show the card of one: data, licence, command, scores.

    zoo:NAME stands wherever a run directory does: in evaluate, compare, predict, export, show, in backbone=zoo:NAME and
    in metaft.load.
    """
    if name is not None:
        _show(zoo.card(name.removeprefix(zoo.PREFIX)))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("name", "what", "score", "mode", "size"):
        table.add_column(head, overflow="fold", no_wrap=head != "what")
    for card in map(zoo.card, zoo.names()):
        score = card["scores"][0]
        cells = (f"{zoo.PREFIX}{card['name']}", card["what"], score_text(score), score["mode"], _size(card))
        table.add_row(*map(Text, cells))
    Console(soft_wrap=True).print(table)
    print_line("Scores are on tasks of unseen classes, ± the 95% interval over tasks; one seed each.")
    print_line("metaft zoo NAME: data, licence, command, all scores")


def score_text(score: dict[str, Any]) -> str:
    """A score of a card, with its interval.

    Args:
        score: an entry of ``scores``.
    """
    if score["metric"] == "accuracy":
        return f"{100 * score['mean']:.2f} ± {100 * score['ci95']:.2f} %"
    return f"{score['metric']} {score['mean']:.3f} ± {score['ci95']:.3f}"


def _show(card: dict[str, Any]) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    told = {name: str(card[name]) for name in ("name", "what", "data", "licence", "trained", "seed")}
    told |= {"parameters": f"{card['parameters']:,}", "size": _size(card), "versions": versions}
    print_facts(told)
    print_line(f"trained by: {card['command']}")
    for score in card["scores"]:
        print_line(f"{score_text(score)}, {score['mode']}, {score['tasks']} tasks of {score['tasks_of']}")
        print_line(f"    {score['command']}", style="dim")


def _size(card: dict[str, Any]) -> str:
    return f"{card['bytes'] / 1000:.0f} kB"
