"""``metaft sweep``."""

from __future__ import annotations

import click

from metaft.cli.folders import OutFolder
from metaft.cli.screen import print_line, print_table


@click.command("sweep", epilog="Example:  metaft sweep experiments/fine_tuning_rate.toml --out runs/rates --jobs 2")
@click.argument("grid", type=click.Path(dir_okay=False), required=False)
@click.option("--out", type=OutFolder(), required=True, help="folder of the sweep")
@click.option("--jobs", type=click.IntRange(1, 1024), help="processes side by side [default: the cores]")
@click.option("--resume", is_flag=True, help="go on with the sweep in --out")
@click.option("--quiet", is_flag=True, help="no progress, no table")
def command(grid: str | None, out: str, jobs: int | None, resume: bool, quiet: bool) -> int:
    """Run the members of GRID.toml in parallel and choose the best setting on validation classes.

    A grid that trains varies a command's settings; command = "validate" varies the options of a learner that adapts:

    \b
      command = "meta-train"           command = "validate"
      seeds = [0, 1, 2]                learner = "fine-tuning:backbone=runs/pre-{seed}"
      [base]                           seeds = [0, 1, 2]
      dataset = "omniglot"             [base]
      minutes = 20                     dataset = "omniglot"
      [grid]                           validate_tasks = 600
      inner_lr = [0.4, 2.0]            [grid]
      steps = [1, 5]                   rate = [0.01, 0.1]

    It can be killed at any moment and resumed. Exit code 1 if a member failed; the others are done all the same.
    """
    from metaft.cli.sweep_progress import SweepProgress
    from metaft.commands.sweep.choice import heads, note
    from metaft.commands.sweep.page import next_command, table_rows
    from metaft.commands.sweep.sweep import sweep
    from metaft.processors import cores

    with SweepProgress(shown=not quiet) as watch:
        found = sweep(grid, out, jobs or cores(), resume=resume, watch=watch)
    if not quiet:
        chosen = [number for number, candidate in enumerate(found.candidates) if candidate.chosen]
        print_table(heads(found.candidates), table_rows(found), bold=chosen)
        print_line(f"{note(found.candidates)}\nwritten: {found.path / 'sweep.md'}", style="dim")
        for candidate in found.chosen:
            print_line(f"next  {next_command(found, candidate)}")
    for name, text in found.warnings.items():
        click.echo(f"warning: {name}: {text}", err=True)
    for name, reason in found.reasons.items():
        click.echo(f"failed: {name}: {reason}", err=True)
    return 0 if found.finished else 1
