"""Words without their padding: the same answers, gradients and random numbers, and fewer rows multiplied."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import metaft
from metaft.additions import attach
from metaft.elementary.mode import Elementary
from metaft.elementary.packing import packing
from metaft.elementary.packing import padded as without
from metaft.learners.maml import MAML
from metaft.models.functional import Functional
from metaft.tasks.batch import TaskBatch
from tests.additions.test_additions import MODELS, network_of

TEXTS = [name for name in MODELS if name in ("bert", "gpt", "llama", "hf-bert", "hf-gpt2", "hf-llama")]


def texts(tasks: int = 3, examples: int = 6, places: int = 9) -> Tensor:
    """Texts of one to nine words, and one without any."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 11, (tasks, examples, places), generator=draw)
    lengths = torch.randint(1, places, (tasks, examples, 1), generator=draw)
    lengths[0, 1] = 0
    return ids * (torch.arange(places) < lengths)


@pytest.fixture
def padded() -> Any:
    """Run something as if there were no packing."""

    def run(what: Any) -> Any:
        with without():
            return what()

    return run


def test_each_word_has_a_place_in_the_row_and_back() -> None:
    ids = texts()[0]
    found = packing(ids)
    assert found is not None
    assert found.index.tolist() == (ids != 0).flatten().nonzero().flatten().tolist()
    x = torch.rand(*ids.shape, 2)
    assert torch.equal(found.spread(found.packed(x))[ids != 0], x[ids != 0])
    assert torch.equal(found.places()[0], torch.arange(9).expand(6, 9)[ids != 0])


def test_tasks_together_are_packed_to_the_longest_of_them() -> None:
    ids = texts()
    most = int((ids != 0).flatten(1).sum(1).max())

    def row(ids: Tensor) -> tuple[Tensor, Tensor]:
        found = packing(ids)
        assert found is not None
        return found.index, found.spread(found.packed(ids))

    index, back = vmap(row)(ids)
    assert index.shape == (3, most)
    assert torch.equal(back[ids != 0], ids[ids != 0])
    nested, _ = vmap(vmap(row))(ids[None].expand(2, -1, -1, -1))
    assert torch.equal(nested[1], index)


def test_full_texts_are_left_as_they_are() -> None:
    assert packing(torch.ones(3, 4, dtype=torch.int64)) is None
    assert packing(torch.zeros(0, 4, dtype=torch.int64)) is None


@pytest.mark.parametrize("model", TEXTS)
def test_answers_and_derivatives_are_those_with_padding(model: str, padded: Any) -> None:
    network = attach(network_of(model), "lora:rank=2", seed=1)
    for name, p in network.named_parameters():
        p.data += 0.1 * torch.ones_like(p) if ".lora." in name else 0
    functional, x = Functional(network), texts()
    params = functional.params()
    y = torch.arange(3).repeat(2)

    def loss(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional(params, x), y)

    def measured() -> list[Any]:
        together = vmap(lambda x: functional(params, x))(x)
        first = vmap(lambda x: grad(loss)(params, x))(x)
        second = grad(lambda p: sum(g.square().sum() for g in grad(loss)(p, x[1]).values()))(params)
        states = network.states(x[1])
        return [together, functional(params, x[0]), first, second, [s * (x[1] != 0)[..., None] for s in states]]

    torch.testing.assert_close(measured(), padded(measured), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("model", TEXTS)
def test_padding_is_not_multiplied(model: str, padded: Any) -> None:
    network, rows = network_of(model), []
    layers = [
        part
        for name, part in network.named_modules()
        if name.endswith(("query", "up", "q_proj", "c_attn", "self.query"))
    ]
    for layer in layers:
        layer.register_forward_hook(lambda _, given, __: rows.append(given[0][..., 0].numel()))
    ids = texts()[1]
    with torch.no_grad():
        network(ids)
    assert layers
    assert set(rows) == {int((ids != 0).sum())}
    rows.clear()
    with torch.no_grad():
        padded(lambda: network(ids))
    assert set(rows) == {ids.numel()}


@pytest.mark.parametrize("model", ["bert", "hf-bert"])
def test_dropout_draws_as_it_does_among_padding(model: str, padded: Any) -> None:
    network = network_of(model)
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.3
    x = texts(2)
    y = torch.arange(3).repeat(2, 2)
    batch = TaskBatch(x, y, x.flip(1), y, keys=torch.tensor([3, 4]))
    learner = MAML(network, metaft.SGD(0.1), 1)
    packed = learner.meta_gradient(batch)
    torch.testing.assert_close(packed.grads, padded(lambda: learner.meta_gradient(batch)).grads, rtol=1e-9, atol=1e-11)
    alone = [
        learner.meta_gradient(TaskBatch(x[i : i + 1], y[:1], x.flip(1)[i : i + 1], y[:1], keys=batch.keys[i : i + 1]))
        for i in range(2)
    ]
    torch.testing.assert_close(packed.loss, (alone[0].loss + alone[1].loss) / 2, rtol=1e-10, atol=1e-12)
    assert functional_call(network, {}, (x[0],)).shape == (6, 3)


def test_each_example_draws_by_its_own_key_whatever_stands_beside_it(padded: Any) -> None:
    network, ids = network_of("bert").train(), texts()[1]
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.3
    keys = torch.arange(5, 11)

    def answers(ids: Tensor, keys: Tensor) -> Tensor:
        with Elementary(keys):
            return network(ids)

    whole = answers(ids, keys)
    torch.testing.assert_close(whole[4:], answers(ids[4:], keys[4:]), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(whole, padded(lambda: answers(ids, keys)), rtol=1e-10, atol=1e-12)
