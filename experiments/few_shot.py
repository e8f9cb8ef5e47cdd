"""Omniglot 5-way 1-shot, meta-trained on Omniglot or on glyphs alone: makes results/{omniglot,glyphs}.{json,md,png}.

Command: python -m experiments.few_shot omniglot   (or glyphs)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from experiments.pages import brief, folder_option, render, results_option
from experiments.plans import state_of
from experiments.training import train
from metaft.assembly.meta_learner import build_family, load_run, run_config
from metaft.evaluation.evaluate import evaluate
from metaft.evaluation.plots import accuracy_per_step, save
from metaft.evaluation.report import comparison_rows, write_result
from metaft.evaluation.result import Result
from metaft.files import write_atomically
from metaft.learners import NearestNeighbour
from metaft.runs.directory import read_record
from metaft.settings.config import RunConfig, validated

TEST_SEED = 1000
MODES = ("transductive", "inductive")


@click.command()
@click.argument("experiment", type=click.Choice(["omniglot", "glyphs"]))
@click.option("--seeds", default=3, show_default=True, help="how many seeds")
@click.option("--minutes", type=float, help="training time a seed  [default: as in the settings file]")
@click.option("--workers", type=int, help="threads  [default: all cores]")
@click.option("--tasks", default=600, show_default=True, help="test tasks")
@folder_option("runs", "runs", "where runs go")
@results_option
def main(
    experiment: str, seeds: int, minutes: float | None, workers: int | None, tasks: int, runs: Path, results: Path
) -> None:
    """Train each seed (a finished run is taken as it is), test all on the same tasks, and write the page."""
    command = f"python -m experiments.few_shot {experiment}" + ("" if workers is None else f" --workers {workers}")
    measured: dict[str, Result] = {}
    records = []
    for seed in range(seeds):
        out = runs / f"{experiment}-{seed}"
        if state_of(out) != "finished":
            train(experiment, out, command, seed=seed, minutes=minutes, workers=workers)
        records.append(read_record(out))
        for mode in MODES:
            family = test_family(run_config(out))
            _, learner = load_run(out, "best", family, batch_norm=mode)
            measured[f"MAML, seed {seed}, {mode}"] = evaluate(learner, family, tasks, steps=3)
    measured["nearest neighbour on raw pixels"] = evaluate(NearestNeighbour(), family, tasks)
    slim = {name: brief(result) for name, result in measured.items()}
    write_result(results / f"{experiment}.json", slim, command, list(range(seeds)), {"runs": records})
    text = page(command, experiment, measured, records, seeds, tasks)
    write_atomically(results / f"{experiment}.md", text.encode())
    curves = {name: result for name, result in measured.items() if "seed 0" in name or "nearest" in name}
    save(accuracy_per_step(curves), results / f"{experiment}.png")
    Console().print(f"written: {results}/{experiment}.md, .json, .png")


def test_family(config: RunConfig) -> Any:
    """The evaluation alphabets as they are, without rotations, 15 queries a class."""
    asked = {"dataset": "omniglot", "scheme": "alphabets", "rotations": False, "queries": 15, "seed": TEST_SEED}
    return build_family(validated(RunConfig, config.model_dump() | asked), "test", TEST_SEED)


def run_workers(record: dict[str, Any]) -> str:
    """The --workers a run was started with, as its recorded command says; all cores otherwise."""
    words = str(record["command"]).split()
    return words[words.index("--workers") + 1] if "--workers" in words else "all cores"


def page(
    command: str, experiment: str, measured: dict[str, Result], records: list[dict[str, Any]], seeds: int, tasks: int
) -> str:
    """The Markdown page of one experiment."""
    settings = records[0]["settings"]
    return render(
        "experiments/few_shot.md.j2", command=command, experiment=experiment, seeds=seeds, tasks=tasks,
        modes={mode: [measured[f"MAML, seed {s}, {mode}"].per_step for s in range(seeds)] for mode in MODES},
        rows=comparison_rows(measured), runs=records, threads=run_workers(records[0]),
        **{part: settings[part] for part in ("train", "learner")},
    )  # fmt: skip


if __name__ == "__main__":
    main()
