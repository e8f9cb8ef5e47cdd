"""``metaft evaluate``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console

from metaft.cli.completion import words
from metaft.cli.defaults import description
from metaft.cli.options import setting_options
from metaft.errors import MetaftError
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

    RUN is a run directory, or zoo:NAME of those that come with metaft (metaft zoo); its scores then go to
    evaluations/NAME. Settings are the run's own unless given here; another --dataset shows transfer. A run of metaft
    tune is scored beside its start on examples of its own data that it has not seen; --tasks, --split, --weights and
    --json hold for it too.
    """
    from metaft.commands.evaluate import evaluate_run
    from metaft.evaluation.report import result_table
    from metaft.evaluation.task_progress import task_progress
    from metaft.runs.reading import known

    if known(Path(run) / "run.json").get("kind") == "tune":
        _tuned(run, options)
        return
    with task_progress() as progress:
        result, json_path, plot_path = evaluate_run(run, progress=progress, **options)
    Console(soft_wrap=True).print(result_table(result))
    click.echo(f"written: {json_path}\n         {plot_path}")


OF_TUNED = {"test_tasks": "--tasks", "split": "--split", "weights": "--weights", "json_file": "--json"}
"""What is asked of a run of ``metaft tune``."""


SAID = {"kl": "nats from the start", "turn": "another turn begun", "words": "words an answer"}
"""What is measured of a tuned model, where its name alone does not say it."""


def _told(more: Mapping[str, float], name: str) -> str:
    return f"{more[name]:.4g}{_half_width(more.get(f'{name}_ci95', math.nan))}" if name in more else "–"


def _half_width(ci95: float) -> str:
    """Of one example there is none."""
    return f" ± {ci95:.2g}" if math.isfinite(ci95) else ""


def _tuned(run: str, options: dict[str, Any]) -> None:
    from metaft.cli.screen import print_table
    from metaft.commands.evaluate_tuned import evaluate_tuned

    context = click.get_current_context()
    given = [name for name in options if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if other := next((name for name in given if name not in OF_TUNED), None):
        flag = f"--{other.replace('_', '-')}"
        raise MetaftError(f"{flag}: a run of metaft tune has no tasks; it takes {', '.join(OF_TUNED.values())}")
    tasks = options["test_tasks"]
    if tasks is not None and not str(tasks).isdigit():
        raise MetaftError(f"--tasks {tasks}: a whole number of examples")
    metric, found, file = evaluate_tuned(
        run, int(tasks or 600), options["split"], options["weights"], options["json_file"]
    )
    names = list(dict.fromkeys(name for one in found.values() for name in one.more if not name.endswith("_ci95")))
    whole = [f"{one.metric:.4g}{_half_width(one.ci95)}" if math.isfinite(one.metric) else "–" for one in found.values()]
    rows = [
        [SAID.get(name, name.replace("_", " ")), *(_told(one.more, name) for one in found.values())] for name in names
    ]
    print_table(["", *found], [[metric, *whole], *rows], bold=[0])
    click.echo(f"written: {file}")
