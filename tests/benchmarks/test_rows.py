"""What the rows time is the right gradient, and a wrong one is not timed. No peer is needed here."""

from __future__ import annotations

import dataclasses
import os
import signal

import numpy as np
import pytest
import torch

import benchmarks.speed.measure
from benchmarks.peers.entrants import with_metaft_uncompiled
from benchmarks.peers.jax_sinusoid import jitted
from benchmarks.speed import attention, conv4, in_context, resnet12, sinusoid, text_episodes
from benchmarks.speed.agree import TOLERANCE, difference, second_order_share
from benchmarks.speed.episodes import sampling
from benchmarks.speed.own_process import Apart
from benchmarks.speed.problem import Params, Problem
from benchmarks.speed.reference import plain
from benchmarks.speed.row import Prepared, check
from benchmarks.speed.rows import ROWS
from metaft.data.images import LabelledImages
from metaft.errors import MetaftError
from metaft.tasks.batch import TaskBatch
from metaft.tasks.episodes import Episodes


def tiny_resnet() -> Problem:
    full = resnet12.problem(tasks=1, hidden=4)
    crop = TaskBatch(*(t[..., :32, :32] if t.dim() == 5 else t for t in full.batch.tensors()))
    return dataclasses.replace(full, batch=crop)


def few_queries(full: Problem) -> Problem:
    batch = full.batch
    return dataclasses.replace(
        full, batch=TaskBatch(batch.support_x, batch.support_y, batch.query_x[:, :5], batch.query_y[:, :5])
    )


PROBLEMS = {
    "sinusoid": lambda: sinusoid.problem(3),
    "conv4-stride2": lambda: few_queries(conv4.stride2(2)),
    "conv4-maxpool": lambda: few_queries(conv4.maxpool(2, steps=2)),
    "resnet12": tiny_resnet,
    "attention": lambda: few_queries(attention.problem(2, layers=2, width=16, vocabulary=20)),
    "attention-first-order": lambda: few_queries(attention.first_order(2, layers=2, width=16, vocabulary=20)),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_metaft_computes_the_plain_loops_gradient_in_every_row(name: str) -> None:
    small = PROBLEMS[name]().small()
    expected = plain(small)
    assert difference(with_metaft_uncompiled(small)(), expected) < TOLERANCE
    assert second_order_share(small, expected) > 1e-3  # otherwise an answer of the other order would pass as well


def test_plain_loop_gives_the_slope_of_the_loss() -> None:
    small = sinusoid.problem(2).small()
    gradient = plain(small)
    direction = {
        n: torch.randn(g.shape, dtype=g.dtype, generator=torch.Generator().manual_seed(3)) for n, g in gradient.items()
    }

    def loss(shift: float) -> float:
        model = small.model()
        total = 0.0
        for support_x, support_y, query_x, query_y in zip(*small.batch.tensors(), strict=True):
            params = {n: p.detach() + shift * direction[n] for n, p in model.named_parameters()}
            params = {n: p.requires_grad_() for n, p in params.items()}
            answer = torch.func.functional_call(model, params, (support_x,))
            grads = torch.autograd.grad(small.loss(answer, support_y), list(params.values()))
            params = {n: p - small.lr * g for (n, p), g in zip(params.items(), grads, strict=True)}
            total += small.loss(torch.func.functional_call(model, params, (query_x,)), query_y).item()
        return total / small.batch.tasks

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert slope == pytest.approx(float(sum((gradient[n] * direction[n]).sum() for n in gradient)), rel=1e-5)


def test_another_gradient_a_crash_and_an_absent_library_are_left_out_with_the_reason() -> None:
    def first_order(problem: Problem):
        return lambda: plain(problem, first_order=True)

    def crashes(problem: Problem):
        raise RuntimeError("broken\nsecond line")

    def absent(problem: Problem):
        import no_such_library  # noqa: F401

    def incomplete(problem: Problem):
        return lambda: dict(list(plain(problem).items())[1:])

    given = {"a": first_order, "b": crashes, "c": absent, "d": plain_entrant, "e": incomplete}
    errors, missing = {}, {}
    for name, maker in given.items():
        errors[name], missing[name] = check(name, maker, sinusoid.problem(3))
    small = sinusoid.problem(3).small()
    assert errors["a"] == pytest.approx(second_order_share(small, plain(small)))
    assert "another gradient" in missing["a"]
    assert missing["b"] == "RuntimeError: broken"
    assert missing["c"].startswith("ModuleNotFoundError")
    assert (errors["d"], missing["d"]) == (0, None)
    assert "inf" in missing["e"]


def test_nothing_is_timed_when_metaft_itself_is_wrong() -> None:
    with pytest.raises(MetaftError, match="metaft computes another gradient"):
        check("metaft", lambda problem: lambda: plain(problem, first_order=True), sinusoid.problem(3))


def test_an_entrant_is_checked_before_it_is_timed() -> None:
    found = ROWS["sinusoid"].prepare("metaft, uncompiled", True)
    assert found.agreement < TOLERANCE
    assert found.entrant.time(1) > 0


def test_an_entrant_lives_in_a_process_of_its_own_and_is_timed_there() -> None:
    one = Apart("sinusoid", "metaft, uncompiled", True)
    try:
        assert one.process.pid != os.getpid()
        assert one.prepared.agreement < TOLERANCE
        assert one.prepared.missing is None
        assert one.units == 1
        assert one.warm_up() is None
        assert one.time(2) > 0
        os.kill(one.process.pid, signal.SIGKILL)
        with pytest.raises(MetaftError, match="ended by signal 9"):
            one.time(1)
    finally:
        one.close()
    assert not one.process.is_alive()


def test_a_number_that_is_none_is_no_agreement() -> None:
    right = {"a": torch.ones(2), "b": torch.ones(2)}
    assert difference({"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")])}, right) == float("inf")


class Pretended:
    """In place of a process."""

    def __init__(self, row: str, name: str, quick: bool) -> None:
        if name == "higher":
            raise MetaftError("its process is gone")
        self.prepared = Prepared(None, "computes another gradient" if name == "learn2learn" else None, 0.5)


def test_a_peer_that_cannot_be_timed_is_left_out_and_metaft_ends_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.speed.measure, "Apart", Pretended)
    apart, missing = benchmarks.speed.measure.gather("conv4-maxpool", True)
    assert missing == {"learn2learn": "computes another gradient", "higher": "its process is gone"}
    assert set(apart) == {"metaft", "metaft, uncompiled", "learn2learn", "TorchOpt"}
    monkeypatch.setattr(Pretended, "__init__", lambda self, *_: (_ for _ in ()).throw(MetaftError("no")))
    with pytest.raises(MetaftError, match="metaft: no"):
        benchmarks.speed.measure.gather("conv4-maxpool", True)


def test_an_entrant_that_cannot_be_set_up_says_why() -> None:
    with pytest.raises(MetaftError, match="KeyError"):
        Apart("sinusoid", "no such entrant", True)


def plain_entrant(problem: Problem):
    def compute() -> Params:
        return plain(problem)

    return compute


def test_jax_computes_the_same_and_its_scan_learns() -> None:
    pytest.importorskip("jax", reason="jax is installed in the peers' environment only")
    from benchmarks.peers.jax_sinusoid import scanned

    small = sinusoid.problem(3).small(3)
    assert difference(jitted(small)(), plain(small)) < TOLERANCE
    train = scanned(sinusoid.problem(), 300)
    assert np.isfinite(train())


def test_episode_row_times_metaft_where_learn2learn_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str = "") -> None:
        raise ModuleNotFoundError("No module named 'learn2learn'")

    monkeypatch.setattr("benchmarks.speed.episodes.learn2learn_module", absent)
    images = torch.randint(0, 256, (7 * 16, 1, 28, 28), dtype=torch.uint8)
    family = Episodes(LabelledImages(images, torch.full((7,), 16), tuple("abcdefg")))
    ours = sampling("metaft", family).entrant
    batch = ours.call()
    assert ours.units == batch.tasks
    assert batch.query_x.shape[1:] == (75, 1, 28, 28)
    theirs = sampling("learn2learn", family)
    assert (theirs.entrant, theirs.missing) == (None, "ModuleNotFoundError: No module named 'learn2learn'")


def test_the_row_of_texts_samples_tasks_of_one_shape_in_both_ways() -> None:
    ours, loop = (text_episodes.prepare(name, True).entrant for name in ROWS["text-episodes"].names)
    assert ours is not None
    assert loop is not None
    batch = ours.call()
    assert ours.units == batch.tasks == 32
    support_x, support_y, query_x, query_y = loop.call()
    assert (support_x.shape[0], query_x.shape[0]) == batch.support_x.shape[1:2] + batch.query_x.shape[1:2] == (5, 75)
    assert torch.equal(support_y, batch.support_y[0])
    assert torch.equal(query_y, batch.query_y[0])
    texts = {tuple(row[row != 0].tolist()) for row in torch.cat([support_x, query_x])}
    assert len(texts) > 70  # of 80, few of which are said twice


def test_the_row_of_prompts_scores_alike_in_both_ways() -> None:
    pytest.importorskip("transformers", reason="the extra text is not installed")
    assert in_context.difference() < 1e-6  # a Llama's norms are float32
    calls = [in_context.prepare(name, True).entrant for name in ROWS["in-context"].names]
    assert [one.call().shape[0] == one.units for one in calls if one is not None] == [True, True]


def test_rows_state_what_issues_3_19_21_22_and_23_ask_for() -> None:
    targets = {name: row.target for name, row in ROWS.items() if row.target is not None}
    expected = {"sinusoid": 40, "sinusoid-training": 1, "conv4-stride2": 2.5, "conv4-maxpool": 2.5, "resnet12": 1.3}
    expected |= {"attention": 2, "attention-first-order": 2, "recurrent": 1}
    expected |= {"lora": 2.5, "lora-first-order": 2.5}
    expected |= {"pretraining-bert": 1.4, "pretraining-gpt": 1.4, "in-context": 8}
    assert targets == expected
    assert ROWS["episodes"].target_per_second == ROWS["text-episodes"].target_per_second == 10_000
