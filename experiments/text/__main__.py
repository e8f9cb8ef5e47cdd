"""Which way to use a support set of texts? All learners on the same tasks: makes results/text*.{md,json,png}.

Command: python -m experiments.text   (what is finished already is taken as it is)
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from experiments.jobs import compare_words, keep, metaft
from experiments.pages import folder_option, render, results_option
from experiments.training import HERE
from metaft.files import write_atomically

PLAN = tomllib.loads((HERE / "text" / "plan.toml").read_text(encoding="utf-8"))
TUNED = "clinc150"
FIRST = "MiniLM, class means"


@click.command()
@folder_option("runs", "runs/text", "work folder")
@results_option
@click.option("--seeds", default=3, show_default=True, help="seeds of every learner that has any")
@click.option("--tasks", default=600, show_default=True, help="test tasks of frozen features, at each number of shots")
@click.option("--tuned-tasks", default=60, show_default=True, help="test tasks of what is tuned, at one shot")
def main(runs: Path, results: Path, seeds: int, tasks: int, tuned_tasks: int) -> None:
    """Compare, and write the pages."""
    for name, data in PLAN["data"].items():
        some = {label: spec for label, spec in PLAN["frozen"].items() if PLAN["only"].get(label, name) == name}
        compared(some, data, runs / name, seeds, (1, 5), tasks)
        keep(runs / name, results, f"text-{name}")
        write(results, seeds, tasks, tuned_tasks)
    compared(PLAN["layers"], PLAN["data"][TUNED], runs / "layers", seeds, (1,), tasks)
    keep(runs / "layers", results, "text-layers")
    near = {FIRST: PLAN["frozen"][FIRST]}
    compared(near | PLAN["tuned"], PLAN["data"][TUNED], runs / "tuned", seeds, (1,), tuned_tasks)
    keep(runs / "tuned", results, "text-tuned")
    write(results, seeds, tasks, tuned_tasks)
    click.echo(f"written: {results}/text*")


def write(results: Path, seeds: int, tasks: int, tuned: int) -> None:
    """Write the page of what has been compared so far.

    Args:
        results: where pages go.
        seeds: of every learner that has any.
        tasks: of frozen features.
        tuned: tasks of what is tuned.
    """
    files = {name: results / f"text-{name}.json" for name in (*PLAN["data"], "layers", "tuned")}
    found = {name: cells(file) for name, file in files.items() if file.exists()}
    data = {name: told for name, told in PLAN["data"].items() if name in found}
    how = {"plan": PLAN, "seeds": seeds, "tasks": tasks, "tuned": tuned}
    page = render("experiments/text/page.md.j2", found=found, data=data, **how)
    write_atomically(results / "text.md", page.encode())


def compared(
    specs: Mapping[str, str], data: Mapping[str, str], folder: Path, seeds: int, shots: tuple[int, ...], tasks: int
) -> None:
    """Compare learners on one data set; an earlier comparison in the folder is gone on with."""
    options = ("--dataset", data["dataset"], "--ways", "5", "--queries", "15", "--no-curves")
    metaft(*compare_words(specs, folder, *options, seeds=str(seeds), shots=shots, tasks=tasks))


def cells(file: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """The scores of a comparison.

    Args:
        file: its ``comparison.json``.

    Returns:
        Learner → shots → mean, interval and what else stands there.
    """
    rows = json.loads(file.read_text(encoding="utf-8"))["results"]
    return {label: {int(shots): cell["score"] for shots, cell in row["shots"].items()} for label, row in rows.items()}


if __name__ == "__main__":
    main()
