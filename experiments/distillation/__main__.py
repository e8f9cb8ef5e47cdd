"""Generational distillation, what it shows and why: makes results/distillation*.{md,json,png}.

Command: python -m experiments.distillation   (makes what is not made yet; --only mnist,noise,… for a part)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from experiments.distillation.collect import collect
from experiments.distillation.page import write_page
from experiments.distillation.plan import SHOWN, Experiment, Run, plan, read_plan, scored
from experiments.jobs import cells_in, compare_words, program, work
from experiments.pages import folder_option, results_option
from experiments.plans import chosen_names
from metaft.environment import environment
from metaft.errors import MetaftError
from metaft.evaluation.report import write_result
from metaft.training.stopping import StoppedRun

HERE = Path(__file__).parent
Planned = Mapping[str, Sequence[Run]]


@click.command()
@click.option("--only", metavar="NAME,…", help="experiments of plan.toml  [default: all]")
@click.option("--seeds", default=5, show_default=True, help="seeds of every run")
@click.option("--short", is_flag=True, help="a trial: the few seconds of training that [….short] says")
@click.option("--jobs", default=2, show_default=True, help="programs side by side, a core each")
@click.option("--plan", "only_plan", is_flag=True, help="say what there is to do, and stop")
@click.option("--page", "only_page", is_flag=True, help="train and score nothing: the page of what is there")
@folder_option("runs", str(SHOWN), "work folder")
@results_option
def main(
    only: str | None, seeds: int, short: bool, jobs: int, only_plan: bool, only_page: bool, runs: Path, results: Path
) -> None:
    """Make every run, score the few-shot learners on the same tasks, write the page; what is done is kept."""
    try:
        everything = read_plan(HERE / "plan.toml")
        names = chosen_names(everything, only, "experiment")
        planned = {name: plan(experiment, seeds, short, runs) for name, experiment in everything.items()}
        for name in names:
            todo = [run for run in planned[name] if run.state != "finished"]
            click.echo(f"{name}: {len(todo)} of {len(planned[name])} runs to do")
            if only_plan:
                for run in todo:
                    click.echo(f"  {run.shown}")
            elif not only_page:
                make(everything[name], todo, seeds, short, jobs, runs)
                write(everything, planned, short, results, runs)
        if only_page:
            write(everything, planned, short, results, runs)
    except (MetaftError, StoppedRun) as error:
        raise click.ClickException(str(error)) from None


def make(experiment: Experiment, todo: Sequence[Run], seeds: int, short: bool, jobs: int, runs: Path) -> None:
    """Train what others start from, then the others, then score."""
    for follows in (False, True):
        work([program(run.label, run.words, run.folder) for run in todo if run.follows == follows], jobs)
    count = min(seeds, experiment.seeds or seeds)
    if experiment.score and (words := scoring(experiment, count, short, runs)):
        work([program(f"{experiment.name} scored", words, scores_folder(experiment, runs))], jobs)


def scoring(experiment: Experiment, seeds: int, short: bool, runs: Path) -> list[str]:
    """The command that scores all seeds on the same few-shot tasks; empty if that is done."""
    folder, learners = scores_folder(experiment, runs), scored(experiment, runs)
    tasks = experiment.score["short_tasks" if short else "tasks"]
    found = {(cell.label, cell.seed) for cell in cells_in(folder) if cell.result.tasks == tasks}
    if {(label, seed) for label in learners for seed in range(seeds)} <= found:
        return []
    options = ("--dataset", "omniglot", "--no-rotations", "--ways", "5", "--queries", "10", "--no-curves",
               "--workers", "1")  # fmt: skip
    return compare_words(learners, folder, *options, seeds=str(seeds), shots=(1,), tasks=tasks)


def scores_folder(experiment: Experiment, runs: Path) -> Path:
    """Where an experiment's few-shot scores lie."""
    return runs / experiment.name / "scores"


def write(everything: dict[str, Experiment], planned: Planned, short: bool, results: Path, runs: Path) -> None:
    """The JSON of all that is finished, and the page made from it."""
    found = {name: collect(one, planned[name], scores_folder(one, runs)) for name, one in everything.items()}
    file, here = results / "distillation.json", environment()
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.exists() and not short else {"results": {}}
    found = {
        name: {**entry, "measured": here} if entry["rows"] else told_before(earlier, name)
        for name, entry in found.items()
        if entry["rows"] or name in earlier["results"]
    }
    results.mkdir(parents=True, exist_ok=True)
    command = f"python -m experiments.distillation{' --short' if short else ''}"
    seeds = sorted({seed for entry in found.values() for seed in entry["seeds"]})
    write_result(file, found, command, seeds)
    write_page(json.loads(file.read_text(encoding="utf-8")), results, _pictures(planned))
    click.echo(f"written: {results}/distillation*")


def told_before(page: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An experiment that the work folder has nothing of, as the page tells of it; and where that was measured.

    Args:
        page: results/distillation.json.
        name: the experiment's.

    Returns:
        Its entry, with ``measured``: commit, versions, machine and date.
    """
    of_page = {key: page[key] for key in ("versions", "commit", "machine", "date")}
    return {"measured": of_page, **page["results"][name]}


def _pictures(planned: Planned) -> dict[str, Path]:
    """The examples whose soft labels say most about other classes, of the first seed."""
    made = {name: [r.folder / "soft_labels.png" for r in runs if not r.follows] for name, runs in planned.items()}
    return {name: files[0] for name, files in made.items() if files and files[0].exists()}


if __name__ == "__main__":
    main()
