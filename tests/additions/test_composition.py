"""Additions with every rule, estimator, memory and number of workers; and runs with them, kept and read again."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import cycle, pairwise, permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import metaft
from metaft.additions import attach, freeze_base, merged, only, without
from metaft.additions.attach import placed
from metaft.additions.selection import all_merged
from metaft.assembly.meta_learner import build, load_run
from metaft.errors import MetaftError
from metaft.learners import build as build_learner
from metaft.learners.class_means import ClassMeans
from metaft.learners.maml import MAML
from metaft.models.quantised import quantise
from metaft.settings.config import RunConfig, validated
from metaft.settings.pretrain import PretrainConfig
from metaft.tables import ESTIMATORS, META_TRAINED, METRIC, RULES
from metaft.tasks.batch import TaskBatch
from tests.additions.test_additions import NAMES, made, moved, network_of
from tests.elementary.test_packing import texts

ON_TEXTS = [name for name in NAMES if name != "context"]


def learner_and_tasks(name: str, rule: Any = None, **how: Any) -> tuple[MAML, TaskBatch]:
    """MAML over an addition of a small BERT whose base is frozen."""
    _, added, batch = made(name, "bert")
    return MAML(freeze_base(moved(added)), rule or metaft.SGD(0.1), 3, **how), batch


@pytest.mark.share(2)
@pytest.mark.parametrize(("name", "rule"), [*zip(ON_TEXTS, cycle(RULES), strict=False)])
def test_any_memory_and_any_workers_give_one_gradient(name: str, rule: str) -> None:
    made_rule = lambda: RULES.make(rule, lr=0.05, steps=3)
    first, batch = learner_and_tasks(name, made_rule(), memory="graph")
    whole = first.meta_gradient(batch)
    assert any(g.abs().max() > 0 for n, g in whole.grads.items() if f".{name}." in n)
    for how in ({"memory": "flat"}, {"memory": "checkpoints", "workers": 2}):
        other, _ = learner_and_tasks(name, made_rule(), **how)
        torch.testing.assert_close(other.meta_gradient(batch).grads, whole.grads, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "estimator"), [*zip(ON_TEXTS, cycle(ESTIMATORS), strict=False)])
def test_estimators_are_what_they_are_elsewhere(name: str, estimator: str) -> None:
    """With a rate near 0 all but Reptile's agree: the adapted parameters are those of the start."""
    more = {"objective": "l2:weight=1"} if estimator == "implicit" else {}
    learner, batch = learner_and_tasks(name, metaft.SGD(1e-9), estimator=estimator, **more)
    found = learner.meta_gradient(batch).grads
    own = [n for n in learner.trains if f".{name}." in n]
    assert own
    if estimator == "reptile":
        assert all(bool(torch.isfinite(g).all()) for g in found.values())
        return
    plain = query_gradient(learner, batch)
    if estimator == "implicit":  # (1 + H)⁻¹ of it: not the same, but it goes the same way
        assert sum((found[n] * plain[n]).sum() for n in own) > 0
        return
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-8)


def query_gradient(learner: MAML, batch: TaskBatch) -> dict[str, Tensor]:
    """The gradient of the mean query loss at the start, by plain autograd."""
    network = copy.deepcopy(learner.model.module)
    leaves = {n: learner.params[n].detach().clone().requires_grad_() for n in learner.trains}
    params = {n: leaves.get(n, p) for n, p in learner.params.items()}
    answers = (functional_call(network, params, (x,)) for x in batch.query_x)
    total = torch.stack([nn.functional.cross_entropy(a, y) for a, y in zip(answers, batch.query_y, strict=True)]).mean()
    grads = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, grads, strict=True))


@pytest.mark.parametrize("method", [name for name in META_TRAINED if name != "cavia"])
def test_every_meta_learner_moves_an_addition_and_no_frozen_weight(method: str) -> None:
    network, added, batch = made("lora", "bert")
    how: dict[str, Any] = {} if method in METRIC else {"steps": 2, "inner_lr": 0.05}
    learner = build_learner(method, freeze_base(moved(added)), kind="classification", **how)
    out = learner.meta_gradient(batch)
    assert any(".lora." in n and bool(g.abs().max() > 0) for n, g in out.grads.items())
    base = {n for n, _ in network.named_parameters() if not n.startswith("head.")}
    assert not base & {n.removeprefix("network.") for n in out.grads}


@pytest.mark.parametrize(
    ("addition", "learner"),
    [
        ("lora:rank=2,on=query,value,down+adapter:width=2", "maml"),
        ("prompt:length=2+prefix:length=2", "protonet"),
        ("compacter:n=2+ia3", "proto-maml"),
    ],
)
def test_a_run_is_kept_and_read_again(addition: str, learner: str, tmp_path: Path) -> None:
    config = validated(
        RunConfig,
        {"dataset": "intents", "model": "transformer:layers=1,width=16,heads=2", "addition": addition, "queries": 2,
         "learner": learner, "iterations": 2, "tasks": 2, "validate_tasks": 2},
    )  # fmt: skip
    parts, run = build(config), tmp_path / "run"
    metaft.meta_train(parts.learner, parts.train, validation=parts.validation, out=run, progress=False, config=config)
    stored, again = load_run(run)
    assert stored.addition == addition
    assert all(torch.equal(value, parts.learner.params[name]) for name, value in again.params.items())
    assert sum(".lora." in name or ".prefix." in name or ".ia3." in name for name in again.params)
    frozen = [name for name, p in network_of_run(again).named_parameters() if not p.requires_grad]
    assert frozen
    assert not {name for name in frozen if name.startswith("head.")}


def network_of_run(learner: Any) -> nn.Module:
    """The network that a learner stands on."""
    return learner.model.module if hasattr(learner, "model") else learner.features.by_task.module


def test_learners_on_networks_with_other_additions_share_no_features() -> None:
    network, ids = network_of("hf-bert").float(), texts()
    attached = [attach(network, f"prompt:length=4,where={where}", seed=0) for where in ("before", "around")]
    found = [ClassMeans(n).embedding.all(ClassMeans(n).params, ids) for n in (*attached, only(attached[0]), network)]
    assert torch.equal(found[2], found[3])
    assert not any(torch.allclose(one, other) for one, other in pairwise(found[:3]))


@pytest.mark.parametrize(
    "added", ["ia3+lora:rank=2,on=value,down", "lora:rank=2,on=value,down+ia3", "adapter+lora:on=output"]
)
def test_additions_beside_one_layer_are_merged_in_their_order(added: str) -> None:
    network, ids = moved(attach(network_of("bert"), added, seed=0)), texts()[0]
    names = {path.rpartition(".")[2] for path in placed(network)}
    orders = [merged_in(network, order) for order in permutations(names)]
    assert any(isinstance(error, MetaftError) for error in orders)
    if "adapter" in names:
        return
    for whole in (all_merged(network), *(n for n in orders if isinstance(n, nn.Module))):
        torch.testing.assert_close(whole(ids), network(ids), rtol=1e-9, atol=1e-10)


def merged_in(network: nn.Module, order: Iterable[str]) -> nn.Module | MetaftError:
    """A network whose additions are merged one after another, or why that cannot be."""
    try:
        for name in order:
            network = merged(network, name)
    except MetaftError as error:
        return error
    return network


def test_what_is_put_into_a_network_is_in_its_mode() -> None:
    network = attach(network_of("bert").eval(), "lora:dropout=0.5", seed=0)
    assert not any(part.training for part in network.modules())
    assert torch.equal(moved(network)(texts()[0]), moved(network)(texts()[0]))


def test_additions_to_words_stand_on_a_quantised_base_too() -> None:
    base = quantise(network_of("hf-bert").float(), "nf4")
    for name in ON_TEXTS:
        network, ids = attach(base, name, seed=0), texts()[0]
        assert bool(torch.isfinite(network(ids)).all())
        assert torch.equal(without(network, name)(ids), base(ids))


def test_an_addition_to_a_language_model_is_refused() -> None:
    with pytest.raises(MetaftError, match="addition = lora: an objective on words"):
        validated(PretrainConfig, {"dataset": "openstax", "objective": "causal", "addition": "lora"})


def test_texts_that_leave_no_place_to_a_prompt_are_refused_before_training() -> None:
    model = "transformer:layers=1,width=16,heads=2,places=40"
    config = validated(RunConfig, {"dataset": "intents", "model": model, "addition": "prompt:length=30", "tasks": 2})
    with pytest.raises(MetaftError, match=r"30 of the network's 40 places are the addition's; cut them: max_words=10"):
        build(config)
