"""Prompts beside the other ways to use a support set: makes results/prompts*.{md,json,png}.

Command: python -m experiments.prompts   (what is finished already is taken as it is)
"""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy.stats import binomtest

from experiments.jobs import compare_words, keep, metaft
from experiments.pages import folder_option, render, results_option
from experiments.text.__main__ import cells
from experiments.training import HERE
from metaft.evaluation.report import markdown_table
from metaft.files import write_atomically
from metaft.prompting import of_dataset

VERDICT = {(True, True): "better", (True, False): "worse", (False, True): "not told", (False, False): "not told"}
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


def paired(file: Path) -> str:
    """Kinds of prompts against the first, subject by subject: exact tests of McNemar (1947), by Holm's correction.

    Args:
        file: the kept answers of ``metaft facts``.

    Returns:
        A table.
    """
    held = json.loads(file.read_text(encoding="utf-8"))
    right = {name: np.array(one["answers"]) == np.array(held["right"]) for name, one in held["results"].items()}
    base, *others = right
    counts = {name: ((right[name] & ~right[base]).sum(), (right[base] & ~right[name]).sum()) for name in others}
    p = {name: binomtest(int(more), int(more + less)).pvalue if more + less else 1.0
         for name, (more, less) in counts.items()}  # fmt: skip
    corrected, least = {}, 0.0
    for place, name in enumerate(sorted(p, key=p.__getitem__)):
        corrected[name] = least = max(least, min(1.0, (len(p) - place) * p[name]))
    shown = {name: f"{value:.3f}" if value >= 0.001 else "< 0.001" for name, value in corrected.items()}
    rows = [[name, str(more), str(less), shown[name], VERDICT[corrected[name] < 0.05, more > less]]
            for name, (more, less) in counts.items()]  # fmt: skip
    heads = (f"against {base}", "right instead", "wrong instead", "p, corrected", "")
    return markdown_table(heads, rows).rstrip()


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
                if command == "facts":
                    body += "\n\n" + paired(results / f"{kept}.json")
                words = f"metaft {command} {MODEL} {' '.join(asked['words'])}"
                probes[asked["title"]] = (words, asked["says"].strip(), body)
    how: dict[str, Any] = {"plan": PLAN, "probes": probes, "seeds": seeds, "tasks": tasks, "patterns": patterns}
    page = render("experiments/prompts/page.md.j2", found=found, **how)
    write_atomically(results / "prompts.md", page.encode())


if __name__ == "__main__":
    main()
