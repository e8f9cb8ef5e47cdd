"""What counts nothing is refused, wherever a number of inner steps is given from Python or in a learner's options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import metaft
from metaft.errors import MetaftError
from metaft.learners import FineTuning, build
from metaft.tasks.batch import TaskBatch
from metaft.validate import require_count

NONE = (-3, 2.5, True, float("nan"), float("inf"), np.float64(2))


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))


def batch() -> TaskBatch:
    labels = torch.arange(3).repeat(2, 2)
    return TaskBatch(torch.rand(2, 6, 2), labels, torch.rand(2, 6, 2), labels)


@pytest.mark.parametrize("steps", NONE, ids=repr)
@pytest.mark.parametrize("name", ["maml", "anil", "cavia", "maml++", "meta-sgd", "proto-maml", "reptile", "imaml"])
def test_a_learner_refuses_steps_that_are_none(name: str, steps: Any) -> None:
    with pytest.raises(MetaftError, match=r"inner steps must be a whole number of at least [01], not"):
        build(name, network(), steps=steps)


@pytest.mark.parametrize("steps", NONE, ids=repr)
def test_so_do_fine_tuning_a_curve_and_the_plain_engine(steps: Any) -> None:
    tuned = FineTuning(network(), steps=1, batch_norm="transductive")
    loss = lambda p, x, y: (x @ p["w"]).square().mean()
    for ask in (
        lambda: FineTuning(network(), steps=steps),
        lambda: tuned.curve(batch(), steps),
        lambda: build("maml", network()).curve(batch(), steps),
        lambda: metaft.meta_gradient(loss, {"w": torch.ones(2, 1)}, batch(), rule=metaft.SGD(0.1), steps=steps),
    ):
        with pytest.raises(MetaftError, match="inner steps must be a whole number of at least 0, not"):
            ask()


@pytest.mark.parametrize("count", [0, *NONE], ids=repr)
def test_so_do_families_evaluation_comparison_and_chunks(count: Any) -> None:
    waves, loss = metaft.families.sinusoid(), lambda p, x, y: (x @ p["w"]).square().mean()
    neighbours = metaft.learners.NearestNeighbour()
    glyphs = metaft.families.episodes("glyphs", split="test")
    engine: dict[str, Any] = {"rule": metaft.SGD(0.1), "steps": 1}
    for ask in (
        lambda: metaft.families.sinusoid(shots=count),
        lambda: metaft.families.sinusoid(queries=count),
        lambda: metaft.families.episodes("glyphs", ways=count),
        lambda: metaft.families.episodes("glyphs", shots=count),
        lambda: metaft.learners.NearestNeighbour(k=count),
        lambda: metaft.evaluate(build("maml", nn.Linear(1, 1), kind="regression"), waves, count),
        lambda: metaft.compare({"a": neighbours}, glyphs, tasks=count),
        lambda: metaft.meta_gradient(loss, {"w": torch.ones(1, 1)}, waves.batch(0, 2), chunk=count, **engine),
    ):
        with pytest.raises(MetaftError, match=r"must be a whole number of at least|should be"):
            ask()


def test_counts() -> None:
    assert require_count(np.int64(3), "tasks", 1) == 3
    with pytest.raises(MetaftError, match="tasks must be a whole number of at least 1, not 0"):
        require_count(0, "tasks", 1)
