"""Cosines between tasks' gradients of a backbone, against plain autograd."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor, nn
from torch.func import functional_call

from metaft.cli import cli
from metaft.errors import MetaftError
from metaft.evaluation.conflict import WHOLE, conflict
from metaft.models import build
from metaft.models.heads import with_new_head
from metaft.tasks.batch import TaskBatch

WAYS, STEPS, RATE = 2, 4, 0.3


def transformer() -> nn.Module:
    small = {"vocabulary": 20, "layers": 2, "width": 8, "heads": 2}
    return build("transformer", outputs=3, seed=0, **small).double()


def conv4() -> nn.Module:
    model = build("conv4", outputs=3, input_shape=(1, 16, 16), seed=0, hidden=6).double()
    for _ in range(10):  # so that its running statistics are those of images
        model.train()(images(1).support_x[0])
    return model.eval()


def texts(tasks: int = 4) -> TaskBatch:
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(1, 20, (tasks, 6, 9), generator=draw)
    x = x.masked_fill(torch.arange(9) >= torch.randint(2, 8, (tasks, 6, 1), generator=draw), 0)
    y = torch.arange(WAYS).repeat(tasks, 3)
    return TaskBatch(x, y, x, y, layout="sequences")


def images(tasks: int = 4) -> TaskBatch:
    x = torch.rand(tasks, 6, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(WAYS).repeat(tasks, 3)
    return TaskBatch(x, y, x, y)


def by_autograd(model: nn.Module, batch: TaskBatch, belongs: Any) -> float:
    """The mean over all pairs of tasks, of the parameters that belong."""
    network = with_new_head(model, WAYS, 0, "zeros").eval()
    start = {name: p.detach() for name, p in network.named_parameters()}
    gradients: list[Tensor] = []
    for x, y in zip(batch.support_x, batch.support_y, strict=True):
        params = dict(start)
        for names in ("head",) * STEPS:
            moving = {n: params[n].clone().requires_grad_() for n in params if n.startswith(names)}
            loss = F.cross_entropy(functional_call(network, params | moving, (x,)), y)
            grads = torch.autograd.grad(loss, list(moving.values()))
            params |= {n: p.detach() - RATE * g for (n, p), g in zip(moving.items(), grads, strict=True)}
        leaves = {n: p.clone().requires_grad_() for n, p in params.items() if belongs(n)}
        loss = F.cross_entropy(functional_call(network, params | leaves, (x,)), y)
        grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        gradients.append(torch.cat([g.flatten() for g in grads]))
    cosines = [F.cosine_similarity(a, b, dim=0) for a, b in itertools.combinations(gradients, 2)]
    return float(torch.stack(cosines).mean())


@pytest.mark.parametrize(("model", "batch", "block"), [(transformer, texts, "blocks.0"), (conv4, images, "features.0")])
def test_cosines_are_those_of_plain_autograd(model: Any, batch: Any, block: str) -> None:
    whole = batch()
    found = conflict(model(), [whole[:3], whole[3:]], WAYS, steps=STEPS, rate=RATE)
    assert found.tasks == 4
    expected = by_autograd(model(), whole, lambda name: name.startswith(f"{block}."))
    assert found.cosines[block] == pytest.approx(expected, abs=1e-10)
    expected = by_autograd(model(), whole, lambda name: not name.startswith("head"))
    assert found.cosines[WHOLE] == pytest.approx(expected, abs=1e-10)
    assert list(found.cosines)[-1] == WHOLE
    assert "head" not in found.cosines


def test_equal_tasks_agree_and_opposite_ones_do_not() -> None:
    one = texts(1)
    twice = TaskBatch(*(torch.cat([part, part]) for part in one.tensors()), layout="sequences")
    same = conflict(transformer(), [twice], WAYS, steps=STEPS, rate=RATE)
    assert all(value == pytest.approx(1.0) for value in same.cosines.values())
    assert conflict(transformer(), [texts()], WAYS, steps=STEPS, rate=RATE).cosines[WHOLE] < 0.9


def test_a_block_without_a_gradient_has_no_cosine() -> None:
    class Half(nn.Module):
        head_layer = "head"

        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(2, 3), nn.Linear(3, WAYS)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.first(x).detach())

    torch.manual_seed(0)
    x, y = torch.rand(2, 4, 2), torch.arange(WAYS).repeat(2, 2)
    found = conflict(Half(), [TaskBatch(x, y, x, y)], WAYS, steps=1)
    assert all(math.isnan(value) for value in found.cosines.values())


def test_one_task_or_values_are_refused() -> None:
    with pytest.raises(MetaftError, match="give two or more"):
        conflict(transformer(), [texts(1)], WAYS)
    x = torch.rand(2, 3, 1)
    with pytest.raises(MetaftError, match="tasks of classes"):
        conflict(nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 1)), [TaskBatch(x, x, x, x)], 1)


def test_it_runs_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "cosines.json"
    words = [
        "conflict",
        "random",
        "--dataset",
        "intents:within=domain",
        "--model",
        "transformer:layers=1,width=8,heads=2",
    ]
    done = CliRunner().invoke(cli, [*words, "--tasks", "3", "--head-steps", "2", "--json", str(file)])
    assert done.exit_code == 0, done.output
    assert "blocks.0" in done.output
    told = json.loads(file.read_text())["results"]["random"]
    assert (told["tasks"], list(told["cosines"])) == (3, ["embedding", "blocks.0", WHOLE])
    done = CliRunner().invoke(cli, ["conflict", "random", "--dataset", "sinusoid"])
    assert (done.exit_code, "tasks of classes" in done.stderr) == (2, True), done.output
