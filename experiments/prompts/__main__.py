"""Prompts beside the other ways to use a support set: makes results/prompts*.{md,json,png}.

Command: python -m experiments.prompts   (what is finished already is taken as it is)
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from experiments.jobs import compare_words, keep, metaft
from experiments.pages import folder_option, render, results_option
from experiments.text.__main__ import cells
from experiments.training import HERE
from metaft.files import write_atomically
from metaft.prompting import of_dataset

MODEL, PROBES = "hf:smollm2", ("variance", "facts")
PLAN = tomllib.loads((HERE / "prompts" / "plan.toml").read_text(encoding="utf-8"))


@click.command()
@folder_option("runs", "runs/prompts", "work folder")
@results_option
@click.option("--seeds", default=3, show_default=True, help="orders of demonstrations, and seeds of what draws")
@click.option("--tasks", default=20, show_default=True, help="support sets, at each number of shots")
@click.option("--only", default="", help="data sets joined by commas, variance, facts; all of the plan if empty")
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
    for command in PROBES:
        for name, asked in PLAN[command].items() if not only or command in only.split(",") else ():
            folder = runs / f"{command}-{name}"
            probe(command, asked["words"], folder)
            kept = f"prompts-{command}-{name}"
            for file in folder.glob(f"{command}.*"):
                shutil.copy(file, results / f"{kept}{file.suffix}")
            page = (folder / f"{command}.md").read_text(encoding="utf-8").replace(f"({command}.png)", f"({kept}.png)")
            write_atomically(results / f"{kept}.md", page.encode())
            write(results, seeds, tasks)
    click.echo(f"written: {results}/prompts*")


def probe(command: str, words: Sequence[str], folder: Path) -> None:
    """Ask the model on its own; what is finished is taken as it is.

    Args:
        command: "variance" or "facts".
        words: of the command.
        folder: that it fills.
    """
    if not (folder / f"{command}.json").exists():
        again = ["--resume"] if (folder / "cells.jsonl").exists() else []
        metaft(command, MODEL, *words, "--out", str(folder), *again)


def tables(page: Path) -> str:
    """A page without its title and its command, to stand within another."""
    return "\n\n".join(part.replace("## ", "### ") for part in page.read_text(encoding="utf-8").split("\n\n")[2:])


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
    probes = {}
    for command in PROBES:
        for name, asked in PLAN[command].items():
            kept = f"prompts-{command}-{name}"
            if (results / f"{kept}.md").exists():
                body = tables(results / f"{kept}.md").strip()
                words = f"metaft {command} {MODEL} {' '.join(asked['words'])}"
                probes[asked["title"]] = (words, asked["says"].strip(), body)
    how: dict[str, Any] = {"plan": PLAN, "probes": probes, "seeds": seeds, "tasks": tasks, "patterns": patterns}
    page = render("experiments/prompts/page.md.j2", found=found, **how)
    write_atomically(results / "prompts.md", page.encode())


if __name__ == "__main__":
    main()
