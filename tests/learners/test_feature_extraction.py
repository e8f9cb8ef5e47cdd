"""Features, class means and heads on features, against the steps written out."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from metaft.data.images import LabelledImages
from metaft.errors import MetaftError
from metaft.learners import ClassMeans, FeatureExtraction, NearestNeighbour, build
from metaft.learners.class_means import base_mean
from metaft.learners.embedding import MOST_VALUES
from metaft.models import Conv4
from metaft.tasks.batch import TaskBatch
from tests.evaluation.toys import Lines


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = Conv4(1, 16, 5, hidden=6)
    for _ in range(10):
        made.train()(torch.rand(32, 1, 16, 16))
    return made


def batch(tasks=4, ways=3, shots=2, queries=5):
    rng = torch.Generator().manual_seed(1)
    draw = lambda n: torch.rand(tasks, ways * n, 1, 16, 16, generator=rng)
    label = torch.arange(ways)
    return TaskBatch(draw(shots), label.repeat(tasks, shots), draw(queries), label.repeat(tasks, queries))


def by_hand(model, x):
    return model.eval().features(x.flatten(0, 1)).unflatten(0, x.shape[:2]).detach()


def test_logistic_regression_on_unit_features_is_scikit_learns(model):
    tasks = batch()
    learner = FeatureExtraction(model, regularisation=0.2)
    scores = learner.curve(tasks)[0]
    support, query = (F.normalize(by_hand(model, x), dim=-1) for x in (tasks.support_x, tasks.query_x))
    for task in range(4):
        head = LogisticRegression(C=5, tol=1e-8).fit(support[task], tasks.support_y[task])
        chances = torch.from_numpy(head.predict_proba(query[task])).float()
        torch.testing.assert_close(scores[task].softmax(-1), chances, rtol=0, atol=1e-4)
    told = learner.describe()
    assert told["adapts"] == 3 * 6 + 3
    assert (told["head"], told["regularisation"], told["normalise"]) == ("logistic", 0.2, "l2")
    assert told["parameters"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("centre", ["none", "support", "base"])
def test_class_means_are_simple_shots(model, centre):
    tasks = batch()
    base = torch.rand(6, generator=torch.Generator().manual_seed(3)) if centre == "base" else None
    learner = ClassMeans(model, centre=centre, base=base)
    scores = learner.curve(tasks)[0]
    support, query = by_hand(model, tasks.support_x), by_hand(model, tasks.query_x)
    shift = {"none": torch.zeros(1), "support": support.mean(1, keepdim=True), "base": base}[centre]
    support, query = F.normalize(support - shift, dim=-1), F.normalize(query - shift, dim=-1)
    for task in range(4):
        means = torch.stack([support[task][tasks.support_y[task] == label].mean(0) for label in range(3)])
        expected = -(query[task][:, None] - means).square().sum(-1)
        torch.testing.assert_close(scores[task], expected, rtol=1e-4, atol=1e-5)
    assert learner.describe()["adapts"] == 3 * 6


def test_the_base_mean_is_over_all_training_images(model):
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1100, 1, 16, 16), generator=rng, dtype=torch.uint8)
    given = LabelledImages(images, torch.tensor([600, 500]), ("a", "b"))
    expected = model.eval().features(images.float() / 255).mean(0).detach()
    torch.testing.assert_close(base_mean(model, given), expected, rtol=1e-4, atol=1e-5)


def test_neighbours_among_features(model):
    tasks = batch()
    scores = NearestNeighbour(model).curve(tasks)[0]
    gaps = torch.cdist(by_hand(model, tasks.query_x), by_hand(model, tasks.support_x))
    expected = tasks.support_y.gather(1, gaps.argmin(-1))
    assert torch.equal(scores.argmax(-1), expected)
    raw = NearestNeighbour(model, features="raw").curve(tasks)
    assert torch.equal(raw, NearestNeighbour().curve(tasks))
    assert NearestNeighbour(model).describe()["features"] == "penultimate"
    assert NearestNeighbour().describe()["features"] == "raw"


@pytest.mark.parametrize("mode", ["inductive", "transductive"])
@torch.no_grad()
def test_batch_norm_by_the_task_at_hand(model, mode):
    tasks = batch()
    learner = ClassMeans(model, batch_norm=mode, normalise="none")
    assert learner.transductive == (mode == "transductive")
    support, query = tasks.support_x[2], tasks.query_x[2]
    for block in model.features[:4]:
        support, query = block.conv(support), block.conv(query)
        source = query if mode == "transductive" else support
        scale = lambda x, by: (
            (x - by.mean((0, 2, 3), keepdim=True)) / (by.var((0, 2, 3), False, keepdim=True) + 1e-5).sqrt()
        )
        support, query = scale(support, support).relu(), scale(query, source).relu()
    support, query = support.mean((2, 3)), query.mean((2, 3))
    means = torch.stack([support[tasks.support_y[2] == label].mean(0) for label in range(3)])
    scores = learner.curve(tasks)[0, 2]
    torch.testing.assert_close(scores, -torch.cdist(query, means).square(), rtol=1e-3, atol=1e-4)


def test_many_images_pass_in_bounded_portions_and_alike(model, monkeypatch):
    tasks = batch(tasks=6)
    expected = FeatureExtraction(model).curve(tasks)
    sizes = []
    monkeypatch.setattr("metaft.learners.embedding.MOST_VALUES", 7 * 256)
    watch = lambda module, inputs: sizes.append(len(inputs[0]))
    handle = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: watch(module, inputs) if isinstance(module, Conv4) else None
    )
    try:
        torch.testing.assert_close(FeatureExtraction(model, workers=2).curve(tasks), expected, rtol=1e-4, atol=1e-5)
    finally:
        handle.remove()
    assert max(sizes) == 7
    assert MOST_VALUES > 7 * 256


def test_a_regression_is_solved_by_ridge_alone():
    tasks = Lines().batch(0, 3)
    answers = FeatureExtraction(head="ridge", regularisation=1e-6, normalise="none").curve(tasks)[0]
    torch.testing.assert_close(answers, tasks.query_y, rtol=1e-3, atol=1e-3)
    for learner in (FeatureExtraction(), ClassMeans(), NearestNeighbour()):
        with pytest.raises(MetaftError, match="real-valued targets"):
            learner.curve(tasks)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: build("feature-extraction", m, head="logstic"), "did you mean 'logistic'"),
        (lambda m: build("feature-extraction", m, regularization="1"), "did you mean 'regularisation'"),
        (
            lambda m: build("feature-extraction", m, regularisation="-1"),
            "regularisation must be a positive finite number, not -1.0",
        ),
        (lambda m: build("feature-extraction", m, features="body.1"), "no layer 'body.1'; it has raw, penultimate"),
        (lambda m: build("feature-extraction", None, features="penultimate"), "give one, or ask for features 'raw'"),
        (lambda m: build("class-means", m, centre="base"), "needs the mean feature of the training classes"),
        (lambda m: ClassMeans(m, base=torch.zeros(6)), "does not use it"),
        (lambda m: ClassMeans(m, centre="base", base=torch.zeros(5)).curve(batch()), r"shape \[6\] like a feature"),
        (lambda m: ClassMeans(m, centre="mean"), "unknown centre 'mean'"),
        (lambda m: ClassMeans(m, normalise="l3"), "unknown normalise 'l3'; known: l2, none"),
        (lambda m: ClassMeans(m, batch_norm="runing"), "did you mean 'running'"),
        (lambda m: ClassMeans(m).meta_gradient(batch()), "no parameters to meta-train"),
    ],
)
def test_mistakes_are_named(model, make, message):
    with pytest.raises(MetaftError, match=message):
        make(model)


def test_a_forest_is_drawn_by_its_own_seed(model):
    draw = lambda seed: build("feature-extraction", model, head="forest", trees="5", head_seed=seed).curve(batch())
    assert torch.equal(draw("1"), draw("1"))
    assert not torch.equal(draw("1"), draw("2"))
