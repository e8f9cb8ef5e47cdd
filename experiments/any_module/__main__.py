"""Does every layer and function of torch give the right meta-gradient, in every way that metaft has to compute it?

Command: python -m experiments.any_module   (makes results/any_module.{json,md}; the cases are in tests/any_module)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from experiments.any_module.cases import case, prepare
from experiments.any_module.page import page
from experiments.pages import folder_option, results_option
from metaft.environment import environment
from metaft.evaluation.report import write_result
from metaft.files import write_atomically
from tests.any_module.cases import CASES, KINDS, REFUSED

COMMAND = "python -m experiments.any_module --compiled"
Found = dict[str, Any]


@click.command()
@click.option("--only", default="", help="cases whose name holds this, and print them instead of writing the page")
@click.option("--compiled", type=click.Choice(["class", "all", "none"]), default="class", show_default=True,
              help="compile one case of each class, all of them, or none")  # fmt: skip
@click.option("--processes", default=1, show_default=True, help="how many cases at a time")
@folder_option("kept", "runs/any_module.jsonl", "where each case is kept as it comes")
@results_option
def main(only: str, compiled: str, processes: int, kept: Path, results: Path) -> None:
    """Compare all ways of computing the meta-gradient of each case; compiling them is most of the time.

    What is found is kept in --kept as it comes; the same command goes on from there, at the same commit.
    """
    chosen = [name for name in CASES if only in name]
    compile_it = compiled_of(compiled, chosen)
    found = {} if only else earlier(kept)
    left = [name for name in chosen if name not in found or (name in compile_it and not found[name]["compiled"])]
    kept.parent.mkdir(parents=True, exist_ok=True)
    at = commit()
    with ProcessPoolExecutor(processes, get_context("spawn"), prepare) as pool:
        made = pool.map(case, left, [name in compile_it for name in left])
        for name, one in zip(left, track(made, "cases", len(left), console=Console(stderr=True)), strict=True):
            found[name] = one
            if not only:
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"name": name, "commit": at, "found": one}) + "\n")
    found = {name: found[name] for name in chosen}
    if only:
        Console().print(found, highlight=False)
        return
    kinds = {kind: [str(c) for c in room.CASES] for kind, room in KINDS.items()}
    command = f"{COMMAND} {compiled}"
    write_result(results / "any_module.json", found, command, [0], {"kinds": kinds})
    write_atomically(results / "any_module.md", page(found, kinds, command).encode())
    Console().print(f"written: {results}/any_module.md, .json")


def compiled_of(which: str, names: Iterable[str]) -> set[str]:
    """The cases to compile: of each class the first that is not refused, or all, or none."""
    computed = [name for name in names if name not in REFUSED]
    first = {CASES[name].of: name for name in reversed(computed)}
    return {"class": set(first.values()), "all": set(computed), "none": set()}[which]


def commit() -> str:
    """The commit that is checked out."""
    return str(environment().get("commit"))


def earlier(kept: Path) -> dict[str, Found]:
    """What this commit found before it was stopped, by case; the last line of each counts.

    Args:
        kept: the file, which need not be there; a last line that was cut off is left out.
    """
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    rows, at = [json.loads(line) for line in lines if line.endswith("}}")], commit()
    return {row["name"]: row["found"] for row in rows if row["commit"] == at and row["name"] in CASES}


if __name__ == "__main__":
    main()
