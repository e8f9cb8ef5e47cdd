"""Sinusoid regression at full length, over seeds: makes results/sinusoid.{json,md,png}.

Command: python -m experiments.sinusoid
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import torch
import torch._inductor.config
from rich.console import Console

import metaft
from experiments.pages import brief, folder_option, render, results_option
from metaft.evaluation.plots import save, sinusoid_fits
from metaft.evaluation.report import write_result
from metaft.files import write_atomically
from metaft.models import build
from metaft.runs.checkpoint import load_newest
from metaft.tasks.batch import TaskBatch
from metaft.tasks.sinusoid import Sinusoids

# name → (inner steps in training, estimator, inner rate, is told amplitude and phase)
METHODS: dict[str, tuple[int, str, float, bool]] = {
    "MAML": (1, "exact", 0.01, False),
    "FOMAML": (1, "first-order", 0.01, False),
    "MAML, 5 steps": (5, "exact", 0.01, False),
    "pretrained on all tasks": (0, "exact", 0.01, False),
    "oracle (told amplitude and phase)": (0, "exact", 0.01, True),
}


@click.command()
@click.option("--seeds", default=3, show_default=True, help="how many seeds")
@click.option("--iterations", default=70_000, show_default=True, help="meta-updates a run")
@click.option("--method", "methods", multiple=True, type=click.Choice(list(METHODS)), help="which  [default: all]")
@click.option("--tasks", default=4000, show_default=True, help="test tasks")
@folder_option("runs", "runs/sinusoid", "run folders")
@results_option
def main(seeds: int, iterations: int, methods: tuple[str, ...], tasks: int, runs: Path, results: Path) -> None:
    """Train every method with every seed, test all on the same waves, and write the page."""
    console = Console()
    store = results / "sinusoid.json"
    earlier = json.loads(store.read_text()) if methods and store.exists() else {}
    measured: dict[str, Any] = dict(earlier.get("results", {}))
    seconds: dict[str, list[float]] = dict(earlier.get("training_seconds", {}))
    for name in methods or METHODS:
        seconds[name] = []
        for seed in range(seeds):
            learner, took = train(name, seed, iterations, runs / f"{slug(name)}-{seed}")
            seconds[name].append(took)
            for shots in (5, 10):
                waves = Sinusoids(shots=shots, queries=100, seed=1000, split="test", tell=METHODS[name][3])
                result = metaft.evaluate(learner, waves, tasks=tasks, steps=10)
                measured[f"{name} · seed {seed} · {shots} shots"] = brief(result)
            console.print(f"{name}, seed {seed}: {took:.1f} s", highlight=False)
    extra = {"training_seconds": seconds, "iterations": iterations}
    write_result(store, measured, "python -m experiments.sinusoid", list(range(seeds)), extra)
    write_atomically(results / "sinusoid.md", page(measured, seconds, seeds, iterations, tasks).encode())
    draw(runs, results / "sinusoid.png")
    console.print(f"written: {results / 'sinusoid.md'}, .json, .png")


def slug(name: str) -> str:
    """A method's name as part of a folder's."""
    return "-".join(name.split(" (")[0].replace(",", "").lower().split())


def train(name: str, seed: int, iterations: int, out: Path) -> tuple[metaft.learners.MAML, float]:
    """One run of one method; the time includes compiling and writing the run directory."""
    torch._dynamo.reset()
    torch._inductor.config.force_disable_caches = True  # so that the time holds a compilation from nothing
    began = time.perf_counter()
    learner = start(name, seed)
    waves = Sinusoids(seed=seed, tell=METHODS[name][3])
    metaft.meta_train(
        learner, waves, iterations, tasks=25, seed=seed, out=out, overwrite=True,
        log_every=1000, checkpoint_every=10_000,
    )  # fmt: skip
    return learner, time.perf_counter() - began


def start(name: str, seed: int) -> metaft.learners.MAML:
    """A method's learner with its initial weights."""
    steps, estimator, inner_lr, told = METHODS[name]
    model = build("mlp", outputs=1, input_shape=(3,) if told else (1,), seed=seed)
    return metaft.learners.MAML(model, metaft.SGD(inner_lr), steps, estimator, kind="regression", engine="compile")


def three_waves() -> tuple[TaskBatch, torch.Tensor]:
    """Three test waves with 10 support points, and 200 points from −5 to 5 to draw the answer over."""
    waves = Sinusoids(shots=10, queries=1, seed=1000, split="plot").batch(0, 3)
    line = torch.linspace(-5, 5, 200).view(1, -1, 1).expand(3, -1, -1)
    return TaskBatch(waves.support_x, waves.support_y, line, torch.zeros_like(line)), line[0, :, 0]


def draw(runs: Path, path: Path) -> None:
    """The fits of seed 0 after 0, 1 and 10 steps, methods side by side."""
    batch, line = three_waves()
    answers = {}
    for name in ("MAML", "pretrained on all tasks"):
        folder = runs / f"{slug(name)}-0" / "checkpoints"
        if folder.exists():
            learner = start(name, 0)
            learner.params = load_newest(folder).weights
            curve = learner.curve(batch, 10)[..., 0]
            answers[name] = torch.stack([curve[k] for k in (0, 1, 10)])
    basis = torch.cat([batch.support_x.sin(), batch.support_x.cos()], dim=-1).double()
    wave = torch.linalg.lstsq(basis, batch.support_y.double()).solution
    truth = wave[:, 0] * line.sin() + wave[:, 1] * line.cos()
    figure = sinusoid_fits(line, truth, answers, batch.support_x[..., 0], batch.support_y[..., 0], steps=(0, 1, 10))
    save(figure, path)


def page(measured: dict[str, Any], seconds: dict[str, list[float]], seeds: int, iterations: int, tasks: int) -> str:
    """results/sinusoid.md."""
    scores: dict[str, dict[tuple[int, int], list[Any]]] = {}
    for name in seconds:
        # The oracle needs no adapting: it is scored as it stands.
        for shots, step in ((5, 0), (10, 0)) if METHODS[name][3] else ((5, 1), (5, 10), (10, 1), (10, 10)):
            found = [measured[f"{name} · seed {s} · {shots} shots"]["per_step"][step] for s in range(seeds)]
            scores.setdefault(name, {})[shots, step] = found
    shown = {"seeds": seeds, "iterations": iterations, "tasks": tasks}
    return render("experiments/sinusoid.md.j2", scores=scores, seconds=seconds, **shown)


if __name__ == "__main__":
    main()
