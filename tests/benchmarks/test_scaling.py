from __future__ import annotations

import pytest
import torch

from benchmarks.scaling import LINKS, WORKS, Link, best_ranks, bytes_reduced, exchange, page, predicted
from metaft import models
from metaft.distributed.place import Place
from metaft.distributed.ranks import Ranks
from metaft.tasks.batch import TaskBatch
from tests.runs.fakes import Gradient


@pytest.mark.parametrize(
    ("work", "network", "shape", "options"),
    [("conv4", "conv4", (1, 28, 28), {"outputs": 5}), ("sinusoid", "mlp", (1,), {"outputs": 1, "hidden": (40, 40)})],
)
def test_parameters_are_those_of_the_networks(work: str, network: str, shape: tuple[int, ...], options: dict) -> None:
    model = models.build(network, input_shape=shape, seed=0, **options)
    assert WORKS[work].parameters == sum(p.numel() for p in model.parameters())


def test_the_bytes_are_those_that_travel() -> None:
    class Wire(Ranks):
        sent = 0

        def _sum(self, tensor: torch.Tensor) -> torch.Tensor:
            self.sent = tensor.numel() * tensor.element_size()
            return tensor

    x = torch.zeros(7, 1, 1)
    world = Wire(Place(1, 3), None)  # type: ignore[arg-type]
    share = world.share(TaskBatch(x, x, x, x))
    grads = {"a": torch.zeros(10, 3), "b": torch.zeros(5)}
    world.agree(Gradient(torch.tensor(0.0), grads, torch.zeros(share.batch.tasks)), share, 0.0, 0)
    assert world.sent == bytes_reduced(35, 7, 3)


def test_a_ring_sends_what_the_formula_says() -> None:
    # Reduce-scatter and all-gather, step by step: each of N − 1 steps sends one N-th, twice.
    size, ranks, link = 4_000_000, 5, Link(1e6, 0.01)
    steps = sum(link.latency + (size / ranks) / link.bandwidth for _ in range(2) for _ in range(ranks - 1))
    assert exchange(size, ranks, link) == pytest.approx(steps)


def test_the_model_by_hand() -> None:
    work = WORKS["sinusoid"]
    assert predicted(work, 0.001, 0.002, 1, LINKS["1 GbE"]) == pytest.approx(25 / 0.051)
    expected = 25 / (0.001 + 13 * 0.002 + 2 * (50e-6 + 4 * (1761 + 25 + 4) / 2 / 125e6))
    assert predicted(work, 0.001, 0.002, 2, LINKS["1 GbE"]) == pytest.approx(expected)
    assert best_ranks(work, 0.001, 1e-6, LINKS["1 GbE"]) == 1
    assert best_ranks(work, 0.001, 1.0, LINKS["1 GbE"]) == 25


def test_the_page_says_what_was_measured() -> None:
    row = {"seconds": {"alone": [0.5, 0.25], "alone, fewer tasks": [0.1], "2 ranks": [0.2]}, "fixed_seconds": 0.01,
           "seconds_per_task": 0.01}  # fmt: skip
    text = page({"sinusoid": row}, "python -m benchmarks.scaling")
    assert "| alone | 75 | 50–100 | 1.00 |" in text
    assert "| 2 ranks | 125 | 125–125 | 1.67 |" in text
