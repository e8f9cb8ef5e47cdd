"""The sinusoid rows: one meta-gradient, and whole training iterations with sampling and Adam."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.peers.entrants import with_learn2learn, with_metaft
from benchmarks.peers.jax_sinusoid import jitted, scanned
from benchmarks.speed.agree import second_order_share
from benchmarks.speed.clock import Entrant
from benchmarks.speed.problem import Problem
from benchmarks.speed.reference import plain
from benchmarks.speed.row import US, Maker, Prepared, Row, attempt, check, gradient_row
from metaft.data.compat import learn2learn_module
from metaft.inner.rules import SGD
from metaft.learners.maml import MAML
from metaft.models import build
from metaft.tasks.sinusoid import Sinusoids
from metaft.training.loop import TrainResult, meta_train

TASKS = 25


def problem(tasks: int = TASKS) -> Problem:
    """MLP 1-40-40-1, 10 + 10 points, 1 step of 0.01 (Finn et al. 2017)."""
    model = build("mlp", outputs=1, input_shape=(1,), seed=0, hidden=(40, 40))
    return Problem(model, Sinusoids().batch(0, tasks), "regression", lr=0.01, steps=1)


def training(name: str, quick: bool) -> Prepared:
    """Whole training iterations: metaft's ``meta_train``, a JAX scan, learn2learn's loop with torch's Adam."""
    work, (gradient, loop) = problem(), LOOPS[name]
    error, missing = check(name, gradient, work)
    made = attempt(lambda: loop(work, 300 if quick else 5000)) if missing is None else missing
    if isinstance(made, str):
        return Prepared(None, made, error)
    small = work.small()
    return Prepared(made, None, error, second_order_share(small, plain(small)) if name == US else None)


def _metaft(work: Problem, iterations: int) -> Entrant:
    """``meta_train`` as the shipped experiment calls it; the loop's own clock leaves out making the run directory."""
    learner = MAML(work.model(), SGD(work.lr), work.steps, kind=work.kind, engine="compile")
    folder = tempfile.TemporaryDirectory(prefix="metaft-benchmark-")

    def train() -> TrainResult:
        return meta_train(learner, Sinusoids(), iterations, TASKS, out=Path(folder.name) / "run", overwrite=True,
                          progress=False, log_every=500, checkpoint_every=5000)  # fmt: skip

    return Entrant(train, units=iterations, threads=1, seconds=lambda result: result.seconds)


def _learn2learn(work: Problem, iterations: int) -> Callable[[], None]:
    """The loop of learn2learn's examples: tasks in a loop, then Adam."""
    maml = learn2learn_module().algorithms.MAML(work.model(), lr=work.lr, first_order=False)
    optimiser = torch.optim.Adam(maml.parameters(), 1e-3)
    family = Sinusoids()
    at = itertools.count()

    def train() -> None:
        for _ in range(iterations):
            optimiser.zero_grad()
            for support_x, support_y, query_x, query_y in zip(*family.batch(next(at), TASKS).tensors(), strict=True):
                learner = maml.clone()
                for _ in range(work.steps):
                    learner.adapt(work.loss(learner(support_x), support_y))
                work.loss(learner(query_x), query_y).backward()
            for p in maml.parameters():
                p.grad.mul_(1 / TASKS)
            optimiser.step()

    return train


LOOPS: dict[str, tuple[Maker, Callable[[Problem, int], Entrant]]] = {
    "metaft": (with_metaft, _metaft),
    "JAX": (jitted, lambda work, iterations: Entrant(scanned(work, iterations), units=iterations)),
    "learn2learn": (with_learn2learn, lambda work, iterations: Entrant(_learn2learn(work, 20), units=20)),
}
"""Name → its meta-gradient, which is checked, and so many of its training iterations, which are timed."""
ROWS = {
    "sinusoid": gradient_row("Sinusoid, 25 tasks, 10 + 10 points, 1 step", problem, {"JAX": jitted}, target=40,
                             rate="product"),
    "sinusoid-training": Row("Sinusoid, whole training iterations (sampling, meta-gradient, Adam)", "iteration",
                             tuple(LOOPS), training, rivals=("JAX",), target=1, rate="product"),
}  # fmt: skip
