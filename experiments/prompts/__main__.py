"""Prompts beside the other ways to use a support set: makes results/prompts*.{md,json,png}.

Command: python -m experiments.prompts   (what is finished already is taken as it is)
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click

from experiments.jobs import compare_words, keep, metaft
from experiments.pages import folder_option, render, results_option
from experiments.text.__main__ import cells
from experiments.training import HERE
from metaft.files import write_atomically
from metaft.prompting import of_dataset

PLAN = tomllib.loads((HERE / "prompts" / "plan.toml").read_text(encoding="utf-8"))


@click.command()
@folder_option("runs", "runs/prompts", "work folder")
@results_option
@click.option("--seeds", default=3, show_default=True, help="orders of demonstrations, and seeds of what draws")
@click.option("--tasks", default=20, show_default=True, help="support sets, at each number of shots")
@click.option("--only", default="", help="data sets joined by commas; all of the plan if empty")
def main(runs: Path, results: Path, seeds: int, tasks: int, only: str) -> None:
    """Compare on each data set, and write the page of what has been compared so far."""
    for name, data in PLAN["data"].items():
        if only and name not in only.split(","):
            continue
        options = ("--dataset", data["dataset"], "--ways", str(data["ways"]), "--queries", str(data["queries"]))
        words = compare_words(PLAN["learners"], runs / name, *options, "--no-curves", seeds=str(seeds),
                              shots=data["shots"], tasks=tasks)  # fmt: skip
        metaft(*words)
        keep(runs / name, results, f"prompts-{name}")
        write(results, seeds, tasks)
    click.echo(f"written: {results}/prompts*")


def write(results: Path, seeds: int, tasks: int) -> None:
    """Write the page.

    Args:
        results: where pages go.
        seeds: orders of demonstrations.
        tasks: support sets.
    """
    files = {name: results / f"prompts-{name}.json" for name in PLAN["data"]}
    found = {name: cells(file) for name, file in files.items() if file.exists()}
    patterns = {name: of_dataset(name).find(None, pairs=name == "rte").text for name in found}
    how: dict[str, Any] = {"plan": PLAN, "seeds": seeds, "tasks": tasks, "patterns": patterns}
    page = render("experiments/prompts/page.md.j2", found=found, **how)
    write_atomically(results / "prompts.md", page.encode())


if __name__ == "__main__":
    main()
