"""Additions from a start of their own and from meta-learned ones: makes results/additions*.{md,json,png}.

Command: python -m experiments.additions   (what is finished already is taken as it is)
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from experiments.jobs import compare_words, keep, metaft, program, work
from experiments.pages import folder_option, render, results_option
from experiments.text.__main__ import cells
from experiments.training import HERE
from metaft.commands.sweep.processes import Job
from metaft.files import write_atomically

PLAN = tomllib.loads((HERE / "additions" / "plan.toml").read_text(encoding="utf-8"))
BASELINE = "class means"


@click.command()
@folder_option("runs", "runs/additions", "work folder")
@results_option
@click.option("--seeds", default=3, show_default=True, help="seeds of every start")
@click.option("--tasks", default=600, show_default=True, help="test tasks within a domain")
@click.option("--transfer-tasks", default=300, show_default=True, help="test tasks of each other data set")
@click.option("--at-once", default=2, show_default=True, help="programs side by side")
@click.option("--rows", default=0, help="only the first so many starts of the plan; 0 for all")
def main(runs: Path, results: Path, seeds: int, tasks: int, transfer_tasks: int, at_once: int, rows: int) -> None:
    """Train the starts, compare them, and write the page."""
    wanted = list(starts())[: rows or None]
    work(list(training(wanted, runs, seeds)), at_once)
    test = PLAN["test"]
    done = [(addition, start) for addition, start in wanted if all(trained(runs, addition, start, seeds))]
    specs = {BASELINE: "class-means:backbone=hf:minilm,normalise=l2"} | dict(learners(done, runs))
    compared(specs, test["within"], runs / "within", seeds, tasks)
    keep(runs / "within", results, "additions-within")
    moved = {label: spec for label, spec in specs.items() if label == BASELINE or label.startswith("lora,")}
    for name, data in PLAN["transfer"].items():
        compared(moved, data, runs / name, seeds, transfer_tasks)
        keep(runs / name, results, f"additions-{name}")
    files = {name: results / f"additions-{name}.json" for name in ("within", *PLAN["transfer"])}
    found = {name: cells(file) for name, file in files.items() if file.exists()}
    how: dict[str, Any] = {"plan": PLAN, "seeds": seeds, "tasks": tasks, "transfer": transfer_tasks, "base": BASELINE}
    page = render("experiments/additions/page.md.j2", found=found, runs=told(runs, done), **how)
    write_atomically(results / "additions.md", page.encode())
    click.echo(f"written: {results}/additions*")


def starts() -> Iterator[tuple[str, str]]:
    """Addition and start of all that is trained, in the plan's order."""
    for row in PLAN["order"]:
        for start in row["starts"]:
            yield row["addition"], start


def run_of(runs: Path, addition: str, start: str, seed: int | str) -> Path:
    """Where a start is trained."""
    return runs / f"{addition}-{start}-{seed}".replace(" ", "-")


def trained(runs: Path, addition: str, start: str, seeds: int) -> list[bool]:
    """Whether the start of each seed is there."""
    return [_iterations(run_of(runs, addition, start, s)) >= PLAN["starts"][start]["iterations"] for s in range(seeds)]


def _iterations(run: Path) -> int:
    file = run / "run.json"
    return int(json.loads(file.read_text()).get("iteration") or 0) if file.exists() else 0


def training(wanted: list[tuple[str, str]], runs: Path, seeds: int) -> Iterator[Job]:
    """The programs that train what is not there yet; seeds in turn, so that few of them are of use already."""
    for seed in range(seeds):
        for addition, start in wanted:
            folder = run_of(runs, addition, start, seed)
            if not trained(runs, addition, start, seeds)[seed]:
                yield program(folder.name, train_words(addition, start, seed, folder), folder, folder)


def train_words(addition: str, start: str, seed: int, folder: Path) -> list[str]:
    """``metaft meta-train`` of one start."""
    how = [w for n, v in PLAN["starts"][start].items() for w in (f"--{n.replace('_', '-')}", str(v))]
    return [
        "meta-train", "--dataset", "intents:within=domain", "--queries", str(PLAN["test"]["queries"]), "--tasks", "4",
        "--workers", "1", "--addition", PLAN["additions"][addition], *how, "--validate-every", "100",
        "--validate-tasks", "100", "--seed", str(seed), "--out", str(folder),
        "--resume" if (folder / "run.json").exists() else "--quiet",
    ]  # fmt: skip


def learners(done: list[tuple[str, str]], runs: Path) -> Iterator[tuple[str, str]]:
    """Label → learner, as ``metaft compare`` reads it: before any meta-training, and from each start."""
    inner = PLAN["starts"]["exact"]
    for addition in dict.fromkeys(addition for addition, _ in done):
        spec = PLAN["additions"][addition].replace(",", ";")
        yield (
            f"{addition}, start of its own, {inner['steps']} steps",
            f"proto-maml:backbone={PLAN['test']['backbone']},addition={spec},steps={inner['steps']},"
            f"inner_lr={inner['inner_lr']}",
        )
    for addition, start in done:
        run = run_of(runs, addition, start, "{seed}")
        steps = PLAN["starts"][start].get("steps")
        for count in (None,) if steps is None else (steps, 0):
            label = f"{addition}, {start}" + ("" if count is None else f", {count} steps")
            yield label, f"{run}" + ("" if count is None else f":steps={count}")


def told(runs: Path, done: list[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """What the record of each start says: what it took to train."""
    found = {}
    for addition, start in done:
        record = json.loads((run_of(runs, addition, start, 0) / "run.json").read_text())
        found[f"{addition}, {start}"] = {"seconds": record.get("seconds"), "iterations": record.get("iteration")}
    return found


def compared(specs: Mapping[str, str], data: str, folder: Path, seeds: int, tasks: int) -> None:
    """Compare learners on one data set; an earlier comparison in the folder is gone on with."""
    test = PLAN["test"]
    options = ("--dataset", data, "--ways", "5", "--queries", str(test["queries"]), "--no-curves")
    metaft(*compare_words(specs, folder, *options, seeds=str(seeds), shots=test["shots"], tasks=tasks))


if __name__ == "__main__":
    main()
