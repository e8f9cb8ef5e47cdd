"""The ResNet-12 row: 84×84 images, two tasks."""

from __future__ import annotations

from benchmarks.peers.entrants import PEERS
from benchmarks.speed.problem import Problem, random_episodes
from benchmarks.speed.row import US, gradient_row
from metaft.models import build

SHAPE = (3, 84, 84)


def problem(tasks: int = 2, hidden: int = 64) -> Problem:
    """5-way 1-shot, 15 queries a class, 1 step of 0.01; widths 64, 128, 256, 512 (Chen et al. 2021)."""
    model = build("resnet12", outputs=5, input_shape=SHAPE, seed=0, hidden=hidden, widths="doubling")
    return Problem(model, random_episodes(tasks, 5, 1, 15, SHAPE), "classification", lr=0.01, steps=1)


# Such large images are not compiled. metaft as its own rival would hold 7 GiB more beside the peers' memory.
ROWS = {
    "resnet12": gradient_row("ResNet-12 at 84×84, 2 tasks, 15 queries, 1 step", problem, names=(US, *PEERS), target=1.3)
}
