"""Batch norm of each step: its statistics are those of the queries there, and they are what evaluation uses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import metaft
from metaft.learners import build, step_statistics
from metaft.models import Conv4
from metaft.tasks.batch import IGNORE, TaskBatch

DOUBLE = torch.float64
MEAN, VAR = "gathered:features.0.norm.running_mean", "gathered:features.0.norm.running_var"


def learner(steps=3, **options):
    torch.manual_seed(0)
    model = Conv4(1, 16, 3, hidden=4).double()
    return build("maml++", model, steps=steps, inner_lr=0.5, **options)


def tasks(seed=1, count=3, queries=4):
    torch.manual_seed(seed)
    draw = lambda n: torch.rand(count, n * 3, 1, 16, 16, dtype=DOUBLE)
    label = torch.arange(3)
    return TaskBatch(draw(2), label.repeat(count, 2), draw(queries), label.repeat(count, queries))


def first_layer(mine, batch, steps):
    """Mean and variance of the first convolution's answers to the first task's queries, after so many steps by hand."""
    params = {n: p.clone() for n, p in mine.params.items() if ":" not in n}
    fast = {n: p for n, p in params.items() if "norm" not in n}
    sx, sy, qx, _ = (t[0] for t in batch.tensors())
    module = Conv4(1, 16, 3, hidden=4).double()
    for k in range(steps):
        fast = {n: p.detach().requires_grad_() for n, p in fast.items()}
        norms = {n: p[k] for n, p in params.items() if "norm" in n}
        loss = F.cross_entropy(torch.func.functional_call(module.train(), fast | norms, (sx,)), sy)
        grads = torch.autograd.grad(loss, list(fast.values()))
        fast = {n: p - mine.params[f"rule:{n}"][k] * g for (n, p), g in zip(fast.items(), grads, strict=True)}
    held = F.conv2d(qx, fast["features.0.conv.weight"], fast["features.0.conv.bias"], stride=2, padding=1)
    return held.mean((0, 2, 3)).detach(), held.var((0, 2, 3), unbiased=False).detach()


def test_they_are_those_of_the_queries_after_each_step_and_average_over_updates():
    mine, expected = learner(), {MEAN: [], VAR: []}
    torch.manual_seed(3)
    mine.params = {n: p + torch.rand_like(p) / 9 if "norm" in n and ":" not in n else p for n, p in mine.params.items()}
    for seed in range(3):
        batch = tasks(seed)
        mine.params = mine.params | mine.meta_gradient(batch).gathered
        found = [first_layer(mine, batch, k) for k in range(4)]
        expected[MEAN].append(torch.stack([mean for mean, _ in found]))
        expected[VAR].append(torch.stack([var for _, var in found]))
    for name, values in expected.items():
        torch.testing.assert_close(mine.params[name], torch.stack(values).mean(0))
    assert mine.params[step_statistics.COUNT] == 3


def test_after_a_hundred_updates_old_ones_fade():
    mine = learner(steps=1)
    mine.params[step_statistics.COUNT] = torch.tensor(500.0, dtype=DOUBLE)
    before, batch = mine.params[MEAN].clone(), tasks()
    now = torch.stack([first_layer(mine, batch, k)[0] for k in range(2)])
    torch.testing.assert_close(mine.meta_gradient(batch).gathered[MEAN], 0.99 * before + 0.01 * now)


def test_evaluation_uses_those_of_its_step_and_no_others():
    """What the public code does not: an answer after k steps changes with the k-th statistics, and with them alone."""
    mine, batch = learner(), tasks()
    before = mine.curve(batch)
    for k in range(4):
        changed = {n: p.clone() for n, p in mine.params.items()}
        for name in (n for n in changed if n.startswith("gathered:") and n.endswith("mean")):
            changed[name][k] += 0.5
        kept, mine.params = mine.params, changed
        moved = (mine.curve(batch) - before).abs().amax((1, 2, 3)) > 1e-6
        mine.params = kept
        assert moved.tolist() == [j == k for j in range(4)]


def test_the_score_is_of_the_statistics_that_training_gathered():
    mine, batch = learner(), tasks()
    fresh = mine.curve(batch)
    mine.params = mine.params | mine.meta_gradient(batch).gathered
    assert not torch.allclose(mine.curve(batch), fresh)
    # They are of the first task's queries alone, so for it, and for it alone, the answer is the transductive one.
    transductive = learner(batch_norm="transductive")
    transductive.params = mine.params
    torch.testing.assert_close(mine.curve(batch)[:, 0], transductive.curve(batch)[:, 0])
    assert not torch.allclose(mine.curve(batch)[:, 1], transductive.curve(batch)[:, 1])
    assert (mine.transductive, transductive.transductive) == (False, True)
    assert mine.describe()["batch_norm"] == "per-step"


def test_the_gradient_does_not_depend_on_them():
    mine, batch = learner(), tasks()
    first = mine.meta_gradient(batch)
    mine.params = mine.params | first.gathered
    second = mine.meta_gradient(batch)
    assert all(torch.equal(second.grads[n], g) for n, g in first.grads.items())
    assert not set(first.grads) & set(first.gathered)


def test_more_steps_than_trained_with_use_the_last():
    mine, batch = learner(steps=1), tasks()
    assert mine.curve(batch, 4).shape[0] == 5
    assert mine.curve(batch, 4).isfinite().all()


def test_padded_queries_leave_no_trace():
    mine, batch = learner(steps=1), tasks(count=1)
    x, y = batch.query_x.clone(), batch.query_y.clone()
    kept = torch.ones(12, dtype=torch.bool)
    kept[8:] = False
    x[:, ~kept], y[:, ~kept] = 7.0, IGNORE
    small = TaskBatch(batch.support_x, batch.support_y, x[:, kept], y[:, kept])
    padded = TaskBatch(batch.support_x, batch.support_y, x, y)
    ours, theirs = (mine.meta_gradient(b).gathered for b in (padded, small))
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name])


def test_training_keeps_them_with_the_weights(tmp_path):
    family = metaft.families.episodes("glyphs", ways=3, shots=1, queries=2, seed=0)
    model = metaft.models.build("conv4", outputs=3, input_shape=family.input_shape, seed=0, hidden=4)
    mine = build("maml++", model, steps=2)
    metaft.meta_train(mine, family, iterations=3, tasks=2, out=tmp_path / "run", progress=False)
    assert mine.params[step_statistics.COUNT] == 3
    assert mine.params[MEAN].abs().max() > 0


def test_what_it_cannot_do_is_said():
    with pytest.raises(metaft.MetaftError, match=r"per-step.*maml\+\+"):
        build("maml", Conv4(1, 16, 3, hidden=4), batch_norm="per-step")
    with pytest.raises(metaft.MetaftError, match="batch norm that keeps some"):
        build("maml++", nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 2)))


def test_without_batch_norm_there_is_nothing_of_each_step():
    mine = build("maml++", nn.Linear(2, 3), rule="sgd")
    assert set(mine.params) == {"weight", "bias"}
    assert mine.describe()["batch_norm"] == "none"
