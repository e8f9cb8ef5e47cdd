"""``metaft evaluate``."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from metaft.cli.completion import words
from metaft.cli.defaults import description
from metaft.cli.options import setting_options
from metaft.settings.config import RunConfig

DEVICES = ("auto", "cpu", "cuda", "mps")
OF_THE_RUN = {
    "dataset": "tasks of another data set, to show transfer [the run's own]",
    "scheme": "{} [the run's own; with another data set: that one's]",
    "ways": "{} [the run's own]",
    "shots": "{} [the run's own]",
    "queries": "{} [the run's own]",
    "rotations": "{} [the run's own; with mini-imagenet, cifar-fs or folder as another data set: no]",
    "colours": "{} [as the run was trained]",
    "data_root": "folder with the data sets [the run's own, unless that is of a folder, table or texts and the set is "
    "another; else METAFT_DATA, else ./data]",
    "seed": "of the tasks [the run's own]",
    "batch_norm": "{} [the run's own]",
}
"""Settings of a run that its evaluation may have otherwise, and what holds where they are left out."""


@click.command("evaluate", epilog="Example:  metaft evaluate runs/omniglot --tasks 1000 --steps 3")
@click.argument("run", type=click.Path(file_okay=False))
@click.option("--tasks", "test_tasks", metavar="COUNT", help="how many test tasks [the run's own, by default 600]")
@click.option("--steps", "test_steps", metavar="COUNT", help="inner steps [the run's own for the test]")
@click.option("--split", default="test", show_default=True, help="train, val or test; all: of unseen data sets")
@click.option("--weights", default="best", show_default=True, help="best (by validation) or last")
@click.option("--protocol", default="episodes", show_default=True, help="episodes, or lake: the one-shot benchmark")
@click.option("--runs", type=click.Path(), help="folder or zip with run01 … run20, for --protocol lake")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="where to write the result [in the run]")
@click.option("--plot", "plot_file", type=click.Path(dir_okay=False), help="where to draw it, PNG [in the run]")
@click.option("--device", metavar="NAME", shell_complete=words(DEVICES), help="auto, cpu, cuda or mps [cpu]")
@setting_options(*OF_THE_RUN, text=lambda name: OF_THE_RUN[name].format(description(name, RunConfig)[0]))
def command(run: str, **options: Any) -> None:
    """Score the learner in RUN on tasks over unseen classes: mean ± 95% interval after each inner step.

    Settings are the run's own unless given here; another --dataset shows transfer.
    """
    from metaft.cli.summary import task_progress
    from metaft.commands.evaluate import evaluate_run
    from metaft.evaluation.report import result_table

    with task_progress() as progress:
        result, json_path, plot_path = evaluate_run(run, progress=progress, **options)
    Console(soft_wrap=True).print(result_table(result))
    click.echo(f"written: {json_path}\n         {plot_path}")
