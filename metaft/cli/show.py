"""``metaft show``."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.text import Text

from metaft.errors import printable


@click.command("show", epilog="Example:  metaft show runs/omniglot")
@click.argument("run", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of text")
def command(run: str, as_json: bool) -> None:
    """Show everything needed to repeat RUN: command, settings, seed, versions, machine, commit, data, scores.

    RUN is a run directory, zoo:NAME, or the folder of a comparison; of that the prompts are shown too that were sent.

    Reads the run's files only: nothing in them is imported or executed, so it is safe on a stranger's run.
    """
    from metaft.commands.compare.showing import PROMPTS, holds_comparison, show_comparison
    from metaft.runs.showing import plain, show_run
    from metaft.zoo import run_path

    run = str(run_path(run))
    found = show_comparison(run) if holds_comparison(run) else show_run(run)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    # Not tables: a command that was folded could not be copied.
    console = Console(soft_wrap=True)
    for heading, section in found.items():
        if section:
            console.print(Text(f"\n{heading}", style="bold"))
            if heading == PROMPTS:
                for name, prompt in section.items():
                    lines = "\n".join(f"    {printable(line)}" for line in prompt.split("\n"))
                    console.print(Text(f"  {printable(name)}\n", style="dim"), Text(lines), sep="")
                continue
            width = max(len(name) for name, _ in plain(section))
            for name, value in plain(section):
                console.print(Text(f"  {name:<{width}}  ", style="dim"), Text(value), sep="")
