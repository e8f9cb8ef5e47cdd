"""Additions from a start of their own and from meta-learned ones: makes results/additions*.{md,json,png}.

Command: python -m experiments.additions   (what is finished already is taken as it is; --only does a part of the page)
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from experiments.additions import images, low_rank
from experiments.additions.page import draw, write
from experiments.additions.plan import (
    BASELINE,
    PLAN,
    iterations,
    label_of,
    learners,
    run_of,
    search_words,
    starts,
    trained,
    training,
)
from experiments.jobs import cells_in, compare_words, keep, metaft, program, work
from experiments.pages import folder_option, results_option
from experiments.plans import chosen_names
from metaft.evaluation.comparison import Comparison
from metaft.evaluation.report import write_result
from metaft.runs.reading import read_json, read_rows

COMMAND = "python -m experiments.additions"
PARTS = ("search", "shots", "rank", "spectrum", "images", *PLAN["transfer"], "within", "adapted", "steps")


@click.command()
@folder_option("runs", "runs/additions", "work folder")
@results_option
@click.option("--seeds", default=3, show_default=True, help="seeds of every start")
@click.option("--at-once", default=2, show_default=True, help="programs side by side")
@click.option("--only", help=f"parts, joined by commas: {', '.join(PARTS)}  [default: all]")
@click.option("--rows", default=0, help="only the first so many starts of a part; 0 for all")
@click.option("--train/--no-train", default=True, show_default=True, help="or compare what is trained already")
def main(runs: Path, results: Path, seeds: int, at_once: int, only: str | None, rows: int, train: bool) -> None:
    """Train the starts, compare them, and write the page of what is there."""
    for part in chosen_names(PARTS, only, "part"):
        click.echo(f"part {part}")
        if part == "search":
            search(runs, results, at_once, train)
        elif part == "spectrum":
            spectrum(runs, results)
        elif part == "images":
            keep(images.compare(runs, seeds, at_once), results, "additions-images")
        else:
            comparison(part, runs, results, seeds, at_once, rows, train)
        draw(results)
        write(results, seeds)
    draw(results)
    write(results, seeds)
    click.echo(f"written: {results}/additions*")


def comparison(part: str, runs: Path, results: Path, seeds: int, at_once: int, rows: int, train: bool) -> None:
    """Train what a part compares, compare it, and keep the tables with what it took to train.

    Args:
        part: of the page.
        runs: the work folder.
        results: where pages go.
        seeds: of every start.
        at_once: programs side by side.
        rows: only the first so many starts; 0 for all.
        train: train those that are not there yet; otherwise they are left out.
    """
    wanted = starts("transfer" if part in PLAN["transfer"] else part)[: rows or None]
    if train:
        work(list(training(wanted, runs, seeds)), at_once)
    done = [(addition, start) for addition, start in wanted if trained(runs, addition, start, seeds)]
    specs = learners(part, done, runs)
    own = PLAN["transfer"].get(part) or {
        "dataset": PLAN["test"]["within"],
        "shots": [1, 5],
        **PLAN["parts"].get(part, {}),
    }
    curves = "--curves" if part == "steps" else "--no-curves"
    options = ("--dataset", own["dataset"], "--ways", "5", "--queries", str(PLAN["test"]["queries"]), curves)
    steps = ("--steps", str(PLAN["steps"]["count"])) if part == "steps" else ()
    shots = own.get("shots", [1, 5])
    metaft(*compare_words(specs, runs / part, *options, *steps, seeds=str(seeds), shots=shots, tasks=own["tasks"]))
    keep(runs / part, results, f"additions-{part}")
    note(results / f"additions-{part}-training.json", told(runs, done, seeds), runs / part, seeds)


def told(runs: Path, done: list[tuple[str, str]], seeds: int) -> dict[str, dict[str, Any]]:
    """What the records of each start say: what it took to train with each seed, and how much was trained."""
    found = {}
    for addition, start in done:
        records = [read_json(run_of(runs, addition, start, seed) / "run.json") for seed in range(seeds)]
        scores = [best(run_of(runs, addition, start, seed)) for seed in range(seeds)]
        found[label_of(addition, start)] = {
            "seconds": [record.get("seconds") for record in records],
            "iterations": [record.get("iteration") for record in records],
            "parameters": records[0]["settings"]["learner"]["parameters"],
            "validation": scores,
            "command": records[0]["command"],
        }
    return found


def best(run: Path) -> float | None:
    """The validation accuracy that a run's weights were chosen by."""
    return max(
        (row["accuracy"] for row in read_rows(run / "metrics.jsonl") if row["kind"] == "validation"), default=None
    )


def note(file: Path, training: Mapping[str, Any], folder: Path, seeds: int) -> None:
    """Write what the training took, and the differences of a comparison that its table has not.

    Args:
        file: to write.
        training: label → what ``told`` says.
        folder: of the comparison.
        seeds: how many.
    """
    held = Comparison(tuple(cells_in(folder)), BASELINE)
    pairs = [(label, f"{label.rpartition(', ')[0]}, 0 steps") for label in held.labels]
    pairs = [(label, still) for label, still in pairs if still != label and still in held.labels]
    if folder.name == "rank":
        ranks = held.labels[1:]
        pairs += [(higher, lower) for lower, higher in pairwise(ranks)]
    gaps = {}
    for label, other in pairs:
        for shots in held.shots:
            gap = held.gap(label, other, shots)
            gaps[f"{label} − {other}, {shots} shots"] = {
                "mean": gap.mean, "ci95": gap.ci95, "ranges_over": gap.ranges_over, "about": gap.about,
                "verdict": gap.verdict(higher_is_better=True),
            }  # fmt: skip
    write_result(file, dict(training), COMMAND, range(seeds), {"differences": gaps})


def search(runs: Path, results: Path, at_once: int, train: bool) -> None:
    """Train what is tried on validation domains, and write down how that went; of what was stopped, as far as it is."""
    folders = {label: runs / one["run"] for label, one in PLAN["search"].items()}
    still = [label for label, run in folders.items() if iterations(run) < PLAN["search"][label]["iterations"]]
    if train:
        work([program(one, search_words(one, folders[one]), folders[one], folders[one]) for one in still], at_once)
    found = {}
    for label, run in folders.items():
        record = read_json(run / "run.json")
        rows = [row for row in read_rows(run / "metrics.jsonl") if row["kind"] == "validation"]
        found[label] = {
            "validation": {str(row["iteration"]): row["accuracy"] for row in rows},
            "seconds": record["seconds"], "iterations": record["iteration"], "command": record["command"],
        }  # fmt: skip
    write_result(results / "additions-search.json", found, COMMAND, [0])


def spectrum(runs: Path, results: Path) -> None:
    """What training all of MiniLM moved, and what Adam keeps."""
    kinds, numbers = low_rank.spectra(low_rank.fine_tuned(runs))
    curves = {kind: [values.tolist() for values in layers] for kind, layers in kinds.items()}
    write_result(results / "additions-spectrum.json", numbers["matrices"], COMMAND, [0],
                 {"run": numbers["run"], "singular_values": curves, "adam": low_rank.memory()})  # fmt: skip


if __name__ == "__main__":
    main()
