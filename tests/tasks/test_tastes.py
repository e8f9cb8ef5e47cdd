"""Users who choose between texts: what they prefer, what a network makes of pairs, and that learners take them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
from scipy.optimize import linprog
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, softplus

import metaft
from metaft import learners, models
from metaft.assembly.own_words import OwnWords, in_words_of
from metaft.assembly.words import tokens_of
from metaft.data.texts import tokenizer
from metaft.data.texts.labelled_texts import LabelledTokens
from metaft.data.texts.traits import COUNTED, counted, traits
from metaft.errors import MetaftError
from metaft.models.comparing import Comparing
from metaft.prompting.text_lookup import TextLookup
from metaft.tasks.batch import TaskBatch
from metaft.tasks.tastes import MixedTastes, Tastes
from tests.text.real import real_root


@lru_cache
def family(users: str = "classes", split: str = "test", shots: int = 3, queries: int = 4) -> Tastes:
    """Users of the intents."""
    made = metaft.families.episodes("tastes", 2, shots, queries, split, users=users, tokenizer="wordpiece:size=500")
    assert isinstance(made, Tastes)
    return made


def network(outputs: int = 2) -> Any:
    """A transformer of 500 words, in evaluation mode, away from where it says nothing."""
    made = models.build("transformer:layers=1,width=16,heads=2", outputs=outputs, vocabulary=500, seed=0).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(5) if p.dim() > 1 else p.add_(0.1)
    return made


def pairs_of_vectors(tasks: int = 2, support: int = 4, query: int = 3) -> TaskBatch:
    """Pairs of vectors of three numbers, in float64."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(tasks, support + query, 2, 3, generator=draw, dtype=torch.float64)
    y = torch.randint(0, 2, (tasks, support + query), generator=draw)
    return TaskBatch(x[:, :support], y[:, :support], x[:, support:], y[:, support:], layout="vectors")


def comparing() -> Comparing:
    """A network of two layers that reads such pairs."""
    torch.manual_seed(1)
    return Comparing(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))).double()


def test_cross_entropy_of_two_places_is_the_bradley_terry_loss() -> None:
    model, batch = comparing(), pairs_of_vectors()
    pairs, labels = batch.query_x[0], batch.query_y[0]
    reward = lambda x: (lambda f: f[:, 0] - f[:, 1])(model.network(x))
    rows = torch.arange(len(pairs))
    chosen, rejected = reward(pairs[rows, labels]), reward(pairs[rows, 1 - labels])
    expected = softplus(rejected - chosen)  # −log σ(r(chosen) − r(rejected))
    torch.testing.assert_close(cross_entropy(model(pairs), labels, reduction="none"), expected)


def test_the_meta_gradient_is_that_of_plain_autograd() -> None:
    model, batch = comparing(), pairs_of_vectors()
    learner = metaft.learners.MAML(model, rule=metaft.SGD(lr=0.3), steps=2, estimator="exact")
    found = learner.meta_gradient(batch)
    start = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    loss_of = lambda params, x, y: cross_entropy(functional_call(model, params, (x,)), y)
    losses = []
    for support_x, support_y, query_x, query_y in zip(*batch.tensors(), strict=True):
        params = start
        for _ in range(2):
            grads = torch.autograd.grad(loss_of(params, support_x, support_y), list(params.values()), create_graph=True)
            params = {n: p - 0.3 * g for (n, p), g in zip(params.items(), grads, strict=True)}
        losses.append(loss_of(params, query_x, query_y))
    total = torch.stack(losses).mean()
    total.backward()
    torch.testing.assert_close(found.loss, total.detach())
    assert max(float(p.grad.abs().max()) for p in start.values() if p.grad is not None) > 1e-3
    for name, p in start.items():
        torch.testing.assert_close(found.grads[name], p.grad, rtol=1e-9, atol=1e-12)


def test_texts_of_a_pair_are_read_by_themselves_and_swapping_them_swaps_the_answer() -> None:
    model, pairs = network(), family().batch(0, 1).query_x[0]
    found = model(pairs)
    assert found.abs().max() > 1e-3
    torch.testing.assert_close(found, model(pairs[:, 0]) - model(pairs[:, 1]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model(pairs.flip(1)).softmax(-1), found.softmax(-1).flip(-1))


@pytest.mark.parametrize("name", ["fomaml", "anil", "protonet", "fine-tuning", "feature-extraction", "class-means"])
def test_learners_take_pairs_and_have_no_leaning_to_a_place(name: str) -> None:
    trained = name in ("fomaml", "anil", "protonet")
    learner = learners.build(name, network(), **({"kind": "classification"} if trained else {}))
    batch = family().batch(0, 3)
    answer = learner.adapt(batch.support_x, batch.support_y)
    found = answer(batch.query_x).softmax(-1)
    assert found.shape == (3, 4, 2)
    assert (found - 0.5).abs().max() > 1e-3
    torch.testing.assert_close(answer(batch.query_x.flip(2)).softmax(-1), found.flip(-1), rtol=1e-3, atol=1e-4)
    if trained:
        assert any(bool(g.abs().max() > 0) for g in learner.meta_gradient(batch).grads.values())


def test_a_user_prefers_one_class_and_support_pairs_stand_in_both_orders() -> None:
    tasks, texts = family(), TextLookup.of(family())
    batch = tasks.batch(3, 2)
    for task in range(2):
        lasting: set[tuple[str, str]] = set()
        for x, y in ((batch.support_x, batch.support_y), (batch.query_x, batch.query_y)):
            for pair, label in zip(x[task], y[task], strict=True):
                classes = [tokens(tasks).names[texts._class[rows[0]]] for rows in texts.rows(pair)]
                lasting.add((classes[label], classes[1 - label]))
        assert len(lasting) == 1
    torch.testing.assert_close(batch.support_x[:, ::2], batch.support_x[:, 1::2].flip(2))
    assert batch.support_y.tolist() == [[0, 1] * 3] * 2
    assert set(batch.query_y.flatten().tolist()) == {0, 1}
    again = tasks.batch(3, 2)
    assert all(torch.equal(a, b) for a, b in zip(batch.tensors(), again.tensors(), strict=True))
    seen = {tuple(text.tolist()) for text in batch.support_x[0].flatten(0, 1)}
    assert len(seen) == 6
    assert not seen & {tuple(text.tolist()) for text in batch.query_x[0].flatten(0, 1)}


def test_users_and_texts_of_the_test_are_new() -> None:
    parts = {split: tokens(family(split=split)) for split in ("train", "test")}
    assert not set(parts["train"].names) & set(parts["test"].names)
    assert not set(parts["train"].texts) & set(parts["test"].texts)


def test_a_mixed_user_weighs_traits_alike_in_all_pairs() -> None:
    tasks = family("mix", shots=20, queries=20)
    assert isinstance(tasks, MixedTastes)
    rows = tasks.indices(0, 4)
    assert not (tasks.indices(1, 4) == rows).all()
    assert len(set(rows[0].flatten().tolist())) == 80
    better = tasks.traits[rows[:, 0]] - tasks.traits[rows[:, 1]]  # [users, pairs, traits]

    def weights(differences: Any) -> bool:
        """Whether some weights give every first text more."""
        count, width = differences.shape
        return bool(linprog([0.0] * width, -differences, [-1e-4] * count, bounds=[(-1e3, 1e3)] * width).success)

    assert all(weights(own) for own in better)
    assert not weights(better.reshape(-1, better.shape[-1]))  # one user is not another


def test_traits_of_a_text() -> None:
    length, letters, *whether = counted("Can you tell me my 2 balances?")
    assert (length, letters) == pytest.approx((1.9459101, 23 / 7))
    assert whether == [1, 1, 1, 1]
    assert counted("pay rent")[2:] == (0, 0, 0, 0)
    found, names = traits(tokens(family()))
    assert names == COUNTED
    assert abs(found.mean(0)).max() < 1e-9
    assert found.std(0) == pytest.approx(1)


def test_where_classes_are_shared_they_are_traits() -> None:
    real_root("sst2/sentences/train.tsv", "sst2/sentences/dev.tsv", "sst2/sentences/test.tsv")
    made = metaft.families.episodes("tastes", 2, 1, 1, "test", of="sst2", users="mix", tokenizer="wordpiece:size=500")
    found, names = traits(tokens(made))
    assert names == (*COUNTED, "negative")
    assert torch.equal(torch.from_numpy(found[:, -1] > 0), tokens(made).labels == 0)


def test_pairs_in_the_words_of_another_tokenizer_are_the_same_texts() -> None:
    tasks = family()
    other = in_words_of(tasks, tokenizer.asked("wordpiece:size=300", tokens(tasks).texts), None)
    rewording = OwnWords(learners.build("class-means", network()), TextLookup.of(tasks), tokens(other))
    ids = tasks.batch(0, 2).support_x
    found = rewording.reworded(ids)
    assert found.shape[:3] == ids.shape[:3]
    assert TextLookup.of(other).texts(found.flatten(0, 2)) == TextLookup.of(tasks).texts(ids.flatten(0, 2))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ways": 5}, "two places"),
        ({"users": "mixed"}, "did you mean 'mix'"),
        ({"of": "nothing"}, "no texts of 'nothing'"),
        ({"of": "rte"}, "users=mix"),
        ({"within": "domain"}, "no episodes"),
        ({"shots": (1, 3)}, "no range"),
        ({"users": "mix", "shots": 2000}, "ask for fewer"),
    ],
)
def test_mistakes_are_said(given: dict[str, Any], message: str) -> None:
    if given.get("of") == "rte":
        real_root("rte/train.tsv", "rte/dev.tsv")
    with pytest.raises(MetaftError, match=message):
        metaft.families.episodes("tastes", **{"ways": 2, "tokenizer": "wordpiece:size=500", "split": "test", **given})


def tokens(tasks: Any) -> LabelledTokens:
    """The texts of a family."""
    found = tokens_of(tasks)
    assert found is not None
    return found
