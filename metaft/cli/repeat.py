"""``metaft repeat``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from metaft.cli import COMMANDS
from metaft.cli.folders import OutFolder
from metaft.cli.screen import print_line


def _beside(run: str) -> Path:
    """``RUN-repeat``, also where RUN is ``.`` or ends in ``..``."""
    path = Path(run)
    return Path(f"{path.resolve() if path.name in ('', '..') else path}-repeat")


@click.command("repeat", epilog="Example:  metaft repeat runs/omniglot --out runs/omniglot-again")
@click.argument("run", type=click.Path(file_okay=False))
@click.option("--out", type=OutFolder(), help="run directory of the repetition [default: RUN-repeat]")
@click.option("--resume", is_flag=True, help="go on with a repetition that was stopped")
@click.option("--quiet", is_flag=True, help="no progress, no table")
def command(run: str, out: str | None, resume: bool, quiet: bool) -> int:
    """Repeat RUN from its recorded settings, and say whether the numbers agree; exit code 1 if they do not.

    They agree bit for bit on the same machine, versions and commit. Where that cannot be, the reasons are named, and
    the best validation score must lie within its interval. A run limited by minutes makes as many iterations again.
    """
    from metaft.commands.agreement import compare_runs
    from metaft.commands.repeat import note, plan
    from metaft.runs.directory import RunDirectory

    how = plan(run)
    folder = Path(out) if out is not None else _beside(run)
    RunDirectory(folder).check(resume=resume, overwrite=False)
    words = [*how.words, "--out", str(folder), *(["--resume"] if resume else []), *(["--quiet"] if quiet else [])]
    import_module(COMMANDS[words[0]][0]).command.main(args=words[1:], prog_name="metaft", standalone_mode=False)
    found = compare_runs(run, folder, how.inexact)
    note(folder, run, found)
    verdict, *reasons = found.lines()
    print_line(f"{folder} repeats {run}: {verdict}", style="bold")
    for reason in reasons:
        print_line(reason)
    return 0 if found.agrees else 1
