"""How often two equal methods are told apart, drawn and real: makes results/statistics.{md,json}.

Command: python -m experiments.verdicts   (some ten minutes on one core; needs no data)
"""

from __future__ import annotations

import tempfile
import tomllib
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

import metaft
from experiments.pages import results_option
from experiments.verdicts.page import page
from experiments.verdicts.simulation import Layout, rates, whole_matrices
from metaft.evaluation.difference import difference
from metaft.evaluation.evaluate import evaluate
from metaft.evaluation.report import write_result
from metaft.files import write_atomically
from metaft.learners import ClassMeans
from metaft.runs.reading import read_json

LAYOUTS = tomllib.loads(Path(__file__).with_name("layouts.toml").read_text(encoding="utf-8"))


@click.command()
@click.option("--pairs", default=4_000, show_default=True, help="drawn pairs a layout")
@click.option("--splits", default=1_000, show_default=True, help="real pairs a pool and number of seeds")
@results_option
@click.option("--page-only", is_flag=True, help="write the page anew from statistics.json")
def main(pairs: int, splits: int, results: Path, page_only: bool) -> None:
    """Draw pairs of equal methods, make real ones, and write the page of statistics."""
    file = results / "statistics.json"
    if not page_only:
        rng = np.random.default_rng(0)
        found = {
            "drawn": {"layouts": drawn(pairs, rng)}, "corners": {"layouts": corners(pairs, rng)},
            "whole": {"layouts": whole(max(pairs // 10, 100), rng)}, "real": {"pools": real(splits, rng)},
        }  # fmt: skip
        command = "python -m experiments.verdicts"
        write_result(file, found, command, [0], {"pairs": pairs, "splits": splits})
    write_atomically(results / "statistics.md", page(read_json(file)).encode())
    click.echo(f"written: {results}/statistics.md, .json")


def drawn(pairs: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """All numbers of seeds, of tasks and deviations between seeds; both methods alike."""
    found = []
    for seeds, tasks, deviation in product(*LAYOUTS["drawn"].values()):
        forms = ("ours", "tasks alone", "one freedom") if seeds > 1 else ("ours",)
        told = rates(Layout((seeds, seeds), tasks, (deviation, deviation)), pairs, rng, forms)
        found.append({"seeds": seeds, "tasks": tasks, "deviation": deviation, **told})
    return found


def corners(pairs: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Unequal numbers of seeds, unequal spreads, a method without randomness."""
    layouts = {name: Layout(**{"tasks": 600, **entry}) for name, entry in LAYOUTS["corners"].items()}
    return [{"name": name, **asdict(layout), **rates(layout, pairs, rng)} for name, layout in layouts.items()]


def whole(pairs: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Whole matrices of accuracies."""
    return [
        {"seeds": [count, count], "tasks": 100, "deviation": deviation, "pairs": pairs,
         "false": whole_matrices((count, count), 100, deviation, pairs, rng)}
        for count in (2, 3, 5) for deviation in (0.0, 1.0, 2.0)
    ]  # fmt: skip


def real(splits: int, rng: np.random.Generator) -> dict[str, Any]:
    """Networks of one method, divided by chance into two methods of a few seeds each."""
    found = {}
    for (name, what), pool in zip(LAYOUTS["real"].items(), (random_networks(), trainings()), strict=True):
        means = pool.mean(1)
        found[name] = {
            "what": what, "networks": len(pool), "tasks": pool.shape[1], "deviation": float(means.std(ddof=1)),
            "means": [round(mean, 6) for mean in means.tolist()],
            "seeds": {str(count): told_apart(pool, count, splits, rng) for count in (1, 2, 3, 5)},
        }  # fmt: skip
    return found


def told_apart(pool: NDArray[np.float64], count: int, splits: int, rng: np.random.Generator) -> dict[str, float]:
    """How often two handfuls of one pool are told apart, with tasks and seeds, and with tasks alone."""
    both = alone = 0
    for _ in range(splits):
        rows = rng.permutation(len(pool))
        first, second = pool[rows[:count]], pool[rows[count : 2 * count]]
        both += difference(first, second).verdict(True) != ""
        alone += difference(first.mean(0), second.mean(0)).verdict(True) != ""
    return {"ours": both / splits, "tasks alone": alone / splits}


def random_networks(count: int = 16, tasks: int = 600) -> NDArray[np.float64]:
    """Accuracies of class means on the features of untrained networks, ``[networks, tasks]``."""
    family = metaft.families.episodes("glyphs", ways=5, shots=1, queries=10, split="test", seed=1000)
    rows = []
    for seed in range(count):
        how = {"seed": seed, "hidden": (40, 40), "std": 0.1}
        model = metaft.models.build("mlp", outputs=5, input_shape=family.input_shape, **how)
        rows.append(evaluate(ClassMeans(model), family, tasks).per_task)
    return torch.stack(rows).numpy()


def trainings(count: int = 12, tasks: int = 300) -> NDArray[np.float64]:
    """Errors of small trainings that differ in their seed alone, ``[trainings, tasks]``."""
    rows = []
    test = metaft.families.sinusoid(shots=10, queries=100, seed=1000)
    for seed in range(count):
        model = metaft.models.build("mlp", outputs=1, input_shape=(1,), seed=seed, std=0.3)
        learner = metaft.learners.MAML(model, rule=metaft.SGD(lr=0.01), steps=1, estimator="exact", kind="regression")
        family = metaft.families.sinusoid(shots=10, queries=10, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            how = {"seed": seed, "out": Path(folder) / "run", "progress": False, "outer_lr": 0.01}
            metaft.meta_train(learner, family, iterations=150, tasks=25, **how)
        rows.append(evaluate(learner, test, tasks, every_step=False).per_task)
    return torch.stack(rows).numpy()


if __name__ == "__main__":
    main()
