"""The Conv4 rows: Omniglot-sized images, strided as in MAML on Omniglot, max-pooled as on mini-ImageNet."""

from __future__ import annotations

from benchmarks.speed.problem import Problem, random_episodes
from benchmarks.speed.row import gradient_row
from metaft.models import build

SHAPE = (1, 28, 28)


def stride2(tasks: int = 32) -> Problem:
    """Stride 2, 5-way 1-shot, 5 queries a class, 1 step of 0.4."""
    model = build("conv4", outputs=5, input_shape=SHAPE, seed=0, pool="stride")
    return Problem(model, random_episodes(tasks, 5, 1, 5, SHAPE), "classification", lr=0.4, steps=1)


def maxpool(tasks: int = 8, steps: int = 5) -> Problem:
    """Max-pool, 5-way 1-shot, 15 queries a class, 5 steps of 0.1."""
    model = build("conv4", outputs=5, input_shape=SHAPE, seed=0, pool="max")
    return Problem(model, random_episodes(tasks, 5, 1, 15, SHAPE), "classification", lr=0.1, steps=steps)


ROWS = {
    "conv4-stride2": gradient_row("Conv4 stride 2, 32 tasks, 5 queries, 1 step", stride2, target=2.5),
    "conv4-maxpool": gradient_row("Conv4 max-pool, 8 tasks, 15 queries, 5 steps", maxpool, target=2.5),
}
