"""learn2learn's algorithms as learners: they answer as metaft's own do, and are left as they were."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import metaft
from metaft.learners import MAML, Learn2Learn
from metaft.models import Conv4
from metaft.tasks.batch import IGNORE

DOUBLE = torch.float64


def network(pool="stride"):
    torch.manual_seed(0)
    return Conv4(1, 16, 3, hidden=4, pool=pool).to(DOUBLE)


def problem(tasks=2, shots=2, queries=3):
    torch.manual_seed(1)
    images = lambda n: torch.rand(tasks, 3 * n, 1, 16, 16, dtype=DOUBLE)
    label = torch.arange(3)
    return metaft.TaskBatch(images(shots), label.repeat(tasks, shots), images(queries), label.repeat(tasks, queries))


@pytest.mark.parametrize(("steps", "pool"), [(1, "stride"), (2, "stride"), (5, "stride"), (10, "max")])
def test_maml_answers_as_metafts(l2l, steps, pool):
    batch, model = problem(), network(pool)
    ours = MAML(model, metaft.SGD(0.1), steps)
    theirs = Learn2Learn(l2l.algorithms.MAML(model, lr=0.1), steps)
    curve = theirs.curve(batch)
    assert curve.shape == (steps + 1, 2, 9, 3)
    assert (curve[0] - curve[-1]).abs().max() > 0.01
    torch.testing.assert_close(curve, ours.curve(batch), rtol=1e-10, atol=1e-10)
    for learner in (ours, theirs):
        answer = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
        torch.testing.assert_close(answer, curve[-1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("steps", "pool"), [(1, "stride"), (3, "stride"), (5, "stride"), (10, "max")])
def test_meta_sgd_answers_as_metafts(l2l, steps, pool):
    batch, model = problem(), network(pool)
    meta_sgd = l2l.algorithms.MetaSGD(model, lr=0.1)
    ours = MAML(model, metaft.MetaSGD(0.1), steps)
    for (name, _), rate in zip(model.named_parameters(), meta_sgd.lrs, strict=True):
        rate.data = torch.rand_like(rate) * 0.2
        ours.params[f"rule:{name}"] = rate.detach().clone()
    curve = Learn2Learn(meta_sgd, steps).curve(batch)
    torch.testing.assert_close(curve, ours.curve(batch), rtol=1e-10, atol=1e-10)


def test_gbml_without_a_transform_is_maml(l2l):
    batch, model = problem(), network()
    plain = l2l.algorithms.GBML(model, transform=lambda parameter: None, lr=0.1)
    expected = MAML(model, metaft.SGD(0.1), 3).curve(batch)
    torch.testing.assert_close(Learn2Learn(plain, 3).curve(batch), expected, rtol=1e-10, atol=1e-10)


def test_gbml_whose_transform_adapts_runs_as_in_a_plain_loop(l2l):
    batch, model = problem(), network()
    transform = l2l.optim.ModuleTransform(l2l.nn.Scale)
    gbml = l2l.algorithms.GBML(model, transform, lr=0.1, adapt_transform=True).to(DOUBLE)
    expected = []
    for sx, sy, qx, _ in zip(*batch.tensors(), strict=True):
        clone = gbml.clone()
        for _ in range(3):
            clone.adapt(F.cross_entropy(clone(sx), sy))
        expected.append(clone(qx).detach())
    torch.testing.assert_close(Learn2Learn(gbml, 3).curve(batch)[-1], torch.stack(expected), rtol=1e-10, atol=1e-10)


def test_regression(l2l):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    family = metaft.families.sinusoid(shots=5, queries=5)
    theirs = Learn2Learn(l2l.algorithms.MAML(model, lr=0.01), 3, kind="regression")
    ours = MAML(model, metaft.SGD(0.01), 3, kind="regression")
    found, expected = (metaft.evaluate(learner, family, tasks=30, steps=5) for learner in (theirs, ours))
    assert found.metric == "mse"
    assert not found.transductive
    torch.testing.assert_close(found.per_task, expected.per_task, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["MAML", "MetaSGD"])
def test_evaluation_changes_nothing_and_leaves_no_graph(l2l, name):
    batch = problem()
    algorithm = getattr(l2l.algorithms, name)(network(), lr=0.1)
    before = copy.deepcopy(algorithm.state_dict())  # batch norm's running statistics and counters among it
    learner = Learn2Learn(algorithm, 4)
    assert not learner.curve(batch).requires_grad
    predict = learner.adapt(batch.support_x, batch.support_y)
    assert not predict(batch.query_x).requires_grad
    assert all(p.is_leaf for clone in predict.__closure__[0].cell_contents for p in clone.module.parameters())
    assert all(torch.equal(before[n], value) for n, value in algorithm.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in algorithm.parameters())


def test_what_is_evaluated_is_the_state_at_the_time(l2l):
    batch, model = problem(), network()
    learner = Learn2Learn(l2l.algorithms.MAML(model, lr=0.1), 1)
    before = learner.curve(batch)
    model.head.bias.data[1] += 5
    assert (learner.curve(batch) - before).abs().max() > 1
    assert torch.equal(learner.params["module.head.bias"], model.head.bias)


def test_the_networks_mode_says_what_batch_norm_does(l2l):
    batch, algorithm = problem(), l2l.algorithms.MAML(network(), lr=0.1)
    learner = Learn2Learn(algorithm, 2)
    alone = lambda: learner.adapt(batch.support_x, batch.support_y)(batch.query_x[:, :2])
    together = lambda: learner.adapt(batch.support_x, batch.support_y)(batch.query_x)[:, :2]
    assert learner.transductive
    assert (alone() - together()).abs().max() > 1e-3
    algorithm.eval()
    assert not learner.transductive
    torch.testing.assert_close(alone(), together(), rtol=1e-12, atol=1e-12)
    assert learner.describe()["batch_norm"] == "running"


def test_padding_makes_no_difference(l2l):
    batch, learner = problem(tasks=1), Learn2Learn(l2l.algorithms.MAML(network(), lr=0.1), 3)
    sx, sy, qx, qy = batch.tensors()
    pad = lambda x, y: (torch.cat([x, x[:, :2] + 1], 1), torch.cat([y, torch.full_like(y[:, :2], IGNORE)], 1))
    padded = learner.curve(metaft.TaskBatch(*pad(sx, sy), *pad(qx, qy)))
    torch.testing.assert_close(padded[:, :, :9], learner.curve(batch), rtol=1e-12, atol=1e-12)
    assert (padded[:, :, 9:] == 0).all()


def test_it_describes_itself(l2l):
    learner = Learn2Learn(l2l.algorithms.MetaSGD(network(), lr=0.1), 2)
    told = learner.describe()
    assert json.loads(json.dumps(told)) == told
    size = sum(p.numel() for p in network().parameters())
    assert (told["adapts"], told["parameters"]) == (size, 2 * size)
    assert told["learner"] == learner.name == "learn2learn.MetaSGD"


@pytest.mark.parametrize("name", ["MAML", "MetaSGD"])
def test_a_step_that_fails_is_one_line(l2l, name, capsys):
    model = network()
    model.features[0].conv.weight.requires_grad_(False)
    learner = Learn2Learn(getattr(l2l.algorithms, name)(model, lr=0.1), 1)
    with pytest.raises(
        metaft.MetaftError, match=rf"learn2learn.{name} cannot take an inner step: One of the .*allow_nograd"
    ):
        learner.curve(problem())
    assert capsys.readouterr() == ("", "")


def test_frozen_parameters_stay(l2l):
    model = network()
    model.features.requires_grad_(False)
    theirs = Learn2Learn(l2l.algorithms.MAML(model, lr=0.1, allow_nograd=True), 3)
    ours = MAML(model, metaft.SGD(0.1), 3, scope="head")
    torch.testing.assert_close(theirs.curve(problem()), ours.curve(problem()), rtol=1e-10, atol=1e-10)
    assert theirs.describe()["adapts"] == ours.describe()["adapts"]


def test_what_is_no_algorithm_is_refused(l2l):
    with pytest.raises(metaft.MetaftError, match=r"algorithms.MAML.*not Conv4"):
        Learn2Learn(network(), 1)
    with pytest.raises(metaft.MetaftError, match="at least 0, not -1"):
        Learn2Learn(l2l.algorithms.MAML(network(), lr=0.1), -1)
