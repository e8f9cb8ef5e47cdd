"""What every learner of the table keeps to; a new one is tested by being in `LEARNERS`."""

import copy
import json

import pytest
import torch

from metaft.learners import build
from metaft.models import Conv4
from metaft.tables import LEARNERS
from metaft.tasks.batch import IGNORE, TaskBatch

WAYS, SHOTS, QUERIES, SIZE = 3, 4, 3, 16
VARIANTS = {
    "nearest-neighbour": [{"features": "raw"}, {"metric": "cosine", "k": 3}, {"batch_norm": "inductive"}],
    "class-means": [{"centre": "support"}, {"batch_norm": "transductive"}],
    "feature-extraction": [
        {"head": "ridge", "features": "features.1+penultimate"},
        {"head": "svm", "features": "raw"},
        {"head": "nearest-mean", "normalise": "none", "batch_norm": "inductive"},
        {"head": "forest", "trees": 10},
        {"solver": "scikit-learn"},
        {"batch_norm": "transductive"},
    ],
    "fine-tuning": [
        {"scope": "head", "steps": 5},
        {"scope": "last:2", "steps": 3, "rule": "momentum", "batch_norm": "inductive"},
        {"objective": "kl", "steps": 3, "batch_norm": "running"},
        {"objective": "l2", "steps": 3, "rule": "adam", "batch_norm": "transductive", "scope": "head"},
        {"head": "kept", "steps": 3, "rate": 1.0},
    ],
    "protonet": [{"distance": "cosine", "batch_norm": "transductive"}],
    "matching": [{"learned_scale": True, "batch_norm": "inductive"}],
    "matching-fce": [{"learned_scale": True, "reads": 1, "batch_norm": "transductive"}],
    "r2d2": [{"fit": "mean", "batch_norm": "transductive"}],
    "in-context-transformer": [{"layers": 1, "batch_norm": "inductive"}],
    "maml": [{"batch_norm": "inductive"}, {"scope": "head", "steps": 3, "rule": "momentum"}],
}
SHORT = {"fine-tuning": {"steps": 4}, "rotating": {"steps": 4}}  # in place of many steps
SHORT |= {"imaml": {"steps": 3, "solver_iterations": 2}}
SHORT |= {name: {"steps": 4, "head_steps": 2} for name in ("head-first", "linearised")}
OF_TEXTS = ("in-context",)  # tests/learners/test_in_context.py
CASES = [(name, more) for name in LEARNERS if name not in OF_TEXTS for more in ({}, *VARIANTS.get(name, []))]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{','.join(f'{k}={v}' for k, v in case[1].items())}")
def learner(request):
    torch.manual_seed(0)
    model = Conv4(1, SIZE, WAYS, hidden=6).double()
    for _ in range(10):  # running statistics that are not the initial ones
        model.train()(torch.rand(32, 1, SIZE, SIZE, dtype=torch.float64))
    name, options = request.param
    return build(name, model, **{**SHORT.get(name, {}), **options})


def tasks(count=5, seed=1):
    rng = torch.Generator().manual_seed(seed)
    kinds = torch.rand(count, 1, WAYS, 1, SIZE, SIZE, generator=rng, dtype=torch.float64)
    noise = torch.rand(count, SHOTS + QUERIES, WAYS, 1, SIZE, SIZE, generator=rng, dtype=torch.float64)
    images = (0.6 * kinds + noise).view(count, -1, 1, SIZE, SIZE)
    labels = torch.arange(WAYS).repeat(count, SHOTS + QUERIES)
    cut = WAYS * SHOTS
    return TaskBatch(images[:, :cut], labels[:, :cut], images[:, cut:], labels[:, cut:])


def same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_answers_have_the_promised_shape_and_no_graph(learner):
    answers = learner.curve(tasks())
    assert answers.shape[1:] == (5, WAYS * QUERIES, WAYS)
    assert not answers.requires_grad
    assert answers.isfinite().all()
    predictor = learner.adapt(tasks().support_x, tasks().support_y)
    found = predictor(tasks().query_x)
    assert not found.requires_grad
    same(found, answers[-1])


def test_it_says_what_it_is(learner):
    learner.curve(tasks())
    told = learner.describe()
    assert json.loads(json.dumps(told)) == told
    assert all(not isinstance(value, dict | list) for value in told.values())
    assert isinstance(told["adapts"], int)
    nothing_is_fitted = ("nearest-neighbour", "matching", "matching-fce", "in-context-transformer")
    assert told["adapts"] > 0 or learner.name in nothing_is_fitted
    assert isinstance(learner.transductive, bool)


@pytest.mark.share(3)
def test_evaluation_changes_nothing_and_draws_nothing(learner):
    before = copy.deepcopy(learner.params)
    generator = torch.random.get_rng_state()
    batch = tasks()
    images = batch.support_x.clone()
    first = learner.curve(batch)
    assert torch.equal(learner.curve(batch), first)
    assert learner.params.keys() == before.keys()
    assert all(torch.equal(learner.params[name], before[name]) for name in before)
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert torch.equal(batch.support_x, images)


@pytest.mark.share(3)
def test_the_order_of_classes_does_not_matter(learner):
    batch, turn = tasks(), torch.tensor([2, 0, 1])
    answers = learner.curve(batch)
    turned = TaskBatch(batch.support_x, turn[batch.support_y], batch.query_x, turn[batch.query_y])
    for name in ("head.weight", "head.bias"):  # a meta-learned head has a row a class: they change places too
        if name in learner.params and learner.params[name].shape[0] == WAYS:
            learner.params[name] = learner.params[name][turn.argsort()]
    same(learner.curve(turned)[..., turn], answers)


@pytest.mark.share(3)
def test_the_order_of_support_examples_does_not_matter(learner):
    batch = tasks()
    order = torch.randperm(WAYS * SHOTS, generator=torch.Generator().manual_seed(2))
    shuffled = TaskBatch(batch.support_x[:, order], batch.support_y[:, order], batch.query_x, batch.query_y)
    if learner.name == "matching-fce":  # it reads the support set in the order it comes in
        assert not torch.allclose(learner.curve(shuffled), learner.curve(batch))
        return
    same(learner.curve(shuffled), learner.curve(batch))


@pytest.mark.share(3)
def test_a_task_is_answered_alike_alone_and_among_others(learner):
    batch = tasks()
    together = learner.curve(batch)
    for task in (0, 3):
        same(learner.curve(batch[task : task + 1])[:, 0], together[:, task])


@pytest.mark.share(3)
def test_queries_influence_each_other_only_where_that_is_declared(learner):
    batch = tasks()
    together = learner.curve(batch)[:, :, 4]
    alone = TaskBatch(batch.support_x, batch.support_y, batch.query_x[:, 4:5], batch.query_y[:, 4:5])
    other = batch.query_x.clone()
    other[:, :4] = 1 - other[:, :4] ** 2
    changed = TaskBatch(batch.support_x, batch.support_y, other, batch.query_y)
    if learner.transductive:
        assert not torch.allclose(learner.curve(changed)[:, :, 4], together, rtol=1e-4)
    else:
        same(learner.curve(alone)[:, :, 0], together)
        same(learner.curve(changed)[:, :, 4], together)


@pytest.mark.share(3)
def test_query_labels_are_not_looked_at(learner):
    batch = tasks()
    blind = TaskBatch(batch.support_x, batch.support_y, batch.query_x, batch.query_y.flip(1))
    assert torch.equal(learner.curve(blind), learner.curve(batch))


@pytest.mark.share(3)
def test_padding_changes_nothing(learner):
    batch = tasks()
    kept, asked = batch.support_y[0] < 3, batch.query_y[0] < 3
    kept[-2 * WAYS :] = False  # two shots less
    asked[-WAYS:] = False
    small = TaskBatch(
        batch.support_x[:1, kept], batch.support_y[:1, kept], batch.query_x[:1, asked], batch.query_y[:1, asked]
    )
    parts = [t.clone() for t in batch.tensors()]
    for x, y, present in ((parts[0], parts[1], kept), (parts[2], parts[3], asked)):
        x[0, ~present], y[0, ~present] = 0, IGNORE
    same(learner.curve(TaskBatch(*parts))[:, :1, asked], learner.curve(small))
