"""The sinusoid rows: one meta-gradient, and whole training iterations with sampling and Adam."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.clock import Entrant
from benchmarks.entrants import with_learn2learn, with_metaft
from benchmarks.jax_sinusoid import jitted, scanned
from benchmarks.problem import Problem
from benchmarks.row import Prepared, Row, attempt, check, gradient_row
from metaft.data.compat import learn2learn_module
from metaft.inner.rules import SGD
from metaft.learners.maml import MAML
from metaft.models import build
from metaft.runs.loop import TrainResult, meta_train
from metaft.tasks.sinusoid import Sinusoids

TASKS = 25


def problem(tasks: int = TASKS) -> Problem:
    """MLP 1-40-40-1, 10 + 10 points, 1 step of 0.01 (Finn et al. 2017)."""
    model = build("mlp", outputs=1, input_shape=(1,), seed=0, hidden=(40, 40))
    return Problem(model, Sinusoids().batch(0, tasks), "regression", lr=0.01, steps=1)


def training(quick: bool) -> Prepared:
    """Whole training iterations: metaft's ``meta_train``, a JAX scan, learn2learn's loop with torch's Adam."""
    work = problem()
    makers = {"metaft": with_metaft, "JAX": jitted, "learn2learn": with_learn2learn}
    errors, missing, first_order_error = check(makers, work)
    iterations = 300 if quick else 5000
    builders: dict[str, Callable[[], Entrant]] = {
        "metaft": lambda: _metaft(work, iterations),
        "JAX": lambda: Entrant(scanned(work, iterations), units=iterations),
        "learn2learn": lambda: Entrant(_learn2learn(work, 20), units=20),
    }
    entrants: dict[str, Entrant] = {}
    for name, builder in builders.items():
        made = attempt(builder) if name not in missing else missing[name]
        if isinstance(made, str):
            missing[name] = made
        else:
            entrants[name] = made
    return Prepared(entrants, missing, errors, first_order_error)


def _metaft(work: Problem, iterations: int) -> Entrant:
    """``meta_train`` as the shipped experiment calls it; the loop's own clock leaves out making the run directory."""
    learner = MAML(work.model(), SGD(work.lr), work.steps, kind=work.kind, engine="compile")
    folder = tempfile.TemporaryDirectory(prefix="metaft-benchmark-")

    def train() -> TrainResult:
        out = Path(folder.name) / "run"
        how: dict[str, Any] = {"log_every": 500, "checkpoint_every": 5000}
        return meta_train(learner, Sinusoids(), iterations, TASKS, out=out, overwrite=True, progress=False, **how)

    return Entrant(train, units=iterations, threads=1, seconds=lambda result: result.seconds)


def _learn2learn(work: Problem, iterations: int) -> Callable[[], None]:
    """The loop of learn2learn's examples: tasks in a loop, then Adam."""
    maml = learn2learn_module().algorithms.MAML(work.model(), lr=work.lr, first_order=False)
    optimiser = torch.optim.Adam(maml.parameters(), 1e-3)
    family = Sinusoids()
    at = iter(range(10**9))

    def train() -> None:
        for _ in range(iterations):
            batch = family.batch(next(at), TASKS)
            optimiser.zero_grad()
            for support_x, support_y, query_x, query_y in zip(*batch.tensors(), strict=True):
                learner = maml.clone()
                for _ in range(work.steps):
                    learner.adapt(work.loss(learner(support_x), support_y))
                work.loss(learner(query_x), query_y).backward()
            for p in maml.parameters():
                p.grad.mul_(1 / TASKS)
            optimiser.step()

    return train


ROWS = {
    "sinusoid": Row(
        "Sinusoid, 25 tasks, 10 + 10 points, 1 step",
        "meta-gradient",
        gradient_row(problem, {"JAX": jitted}),
        target=40,
        rate="product",
    ),
    "sinusoid-training": Row(
        "Sinusoid, whole training iterations (sampling, meta-gradient, Adam)",
        "iteration",
        training,
        rivals=("JAX",),
        target=1,
        rate="product",
    ),
}
