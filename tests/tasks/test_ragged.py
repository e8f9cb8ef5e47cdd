"""A padded task gives what the same task gives unpadded, whoever learns it."""

import dataclasses

import pytest
import torch
from torch import nn

import metaft
from metaft.data.images import LabelledImages
from metaft.evaluation.evaluate import draw, last_answers, score
from metaft.evaluation.validation import losses, validate
from metaft.learners import MAML, NearestNeighbour, build
from metaft.tables import LEARNERS
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.episodes import Episodes
from metaft.tasks.ragged import RaggedEpisodes


def images(classes=9, each=8, size=8):
    drawn = torch.randint(0, 256, (classes * each, 2, size, size), generator=torch.Generator().manual_seed(0))
    return LabelledImages(drawn.byte(), torch.full((classes,), each), tuple(f"c{i}" for i in range(classes)))


def family(**options):
    return RaggedEpisodes(images(), **{"ways": 5, "shots": 3, "queries": 4, "fewest_ways": 2} | options)


def double(batch):
    return TaskBatch(*(t if not t.is_floating_point() else t.double() for t in batch.tensors()))


def unpadded(batch, task):
    sx, sy, qx, qy = (t[task] for t in batch.tensors())
    return TaskBatch(*(t.unsqueeze(0) for t in (sx[sy >= 0], sy[sy >= 0], qx[qy >= 0], qy[qy >= 0])))


def network(hidden=4, norm=True):
    torch.manual_seed(1)
    middle = [nn.BatchNorm2d(hidden)] if norm else []
    last = nn.Linear(hidden * 16, 5)
    return nn.Sequential(nn.Conv2d(2, hidden, 3, 2, 1), *middle, nn.Softplus(), nn.Flatten(), last).double()


MAMLS = {
    "transductive": {},
    "inductive": {"batch_norm": "inductive"},
    "l2, head": {"batch_norm": "inductive", "objective": "l2", "scope": "head"},
    "no norm, kl": {"objective": "kl"},
}


def maml(name, **options):
    model = network(norm=not name.startswith("no norm"))
    return MAML(model, metaft.SGD(lr=0.3), 2, **MAMLS[name] | options)


def test_shapes_vary_within_the_range_and_padding_is_blank():
    batch = family().batch(0, 400)
    assert batch.ragged
    seen = set()
    for task in range(400):
        sy, qy = batch.support_y[task], batch.query_y[task]
        counts = torch.bincount(sy[sy >= 0])
        assert (counts == counts[0]).all()
        assert torch.equal(torch.bincount(qy[qy >= 0]), torch.full((len(counts),), 4))
        assert set(sy.tolist()) <= {IGNORE, *range(5)}
        seen.add((len(counts), int(counts[0])))
    assert seen == {(ways, shots) for ways in (2, 3, 4, 5) for shots in (1, 2, 3)}
    assert batch.support_x[batch.support_y < 0].abs().max() == 0
    assert batch.query_x[batch.query_y < 0].abs().max() == 0


def test_what_is_kept_are_the_episodes_of_the_widest_shape():
    ragged = family()
    plain = Episodes(ragged.images, ways=5, shots=3, queries=4)
    ours, theirs = ragged.batch(3, 20), plain.batch(3, 20)
    assert not theirs.ragged
    for y, x, full_y, full_x in (
        (ours.support_y, ours.support_x, theirs.support_y, theirs.support_x),
        (ours.query_y, ours.query_x, theirs.query_y, theirs.query_x),
    ):
        assert torch.equal(y[y >= 0], full_y[y >= 0])
        assert torch.equal(x[y >= 0], full_x[y >= 0])
    again = family().batch(3, 20)
    assert all(torch.equal(a, b) for a, b in zip(ours.tensors(), again.tensors(), strict=True))
    assert not torch.equal(dataclasses.replace(ragged, seed=1).batch(3, 20).support_y, ours.support_y)
    assert ragged.describe()["ways"] == "2-5"
    assert (ragged.outputs, ragged.describe()["shots"]) == (5, "1-3")


@pytest.mark.parametrize("name", MAMLS)
def test_maml_answers_as_for_the_task_unpadded(name):
    batch = double(family().batch(0, 6))
    learner = maml(name)
    curve = learner.curve(batch, 3)
    for task in range(6):
        expected = learner.curve(unpadded(batch, task), 3)
        torch.testing.assert_close(curve[:, task, batch.query_y[task] >= 0], expected[:, 0], rtol=1e-10, atol=1e-10)
    if not learner.transductive:
        predicted = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
        torch.testing.assert_close(predicted, learner.curve(batch)[-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("estimator", ["exact", "first-order", "finite-difference"])
@pytest.mark.parametrize("name", MAMLS)
def test_the_meta_gradient_is_that_of_the_tasks_unpadded(name, estimator):
    batch = double(family().batch(0, 5))
    learner = maml(name, estimator=estimator)
    ours = learner.meta_gradient(batch)
    each = [learner.meta_gradient(unpadded(batch, task)) for task in range(5)]
    tolerance = 1e-4 if estimator == "finite-difference" else 1e-10  # the former has a step of its own
    torch.testing.assert_close(ours.losses, torch.cat([one.losses for one in each]), rtol=1e-10, atol=1e-10)
    for key, value in ours.grads.items():
        expected = torch.stack([one.grads[key] for one in each]).mean(0)
        torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)


def test_the_pull_of_kl_cannot_leave_padding_out_of_batch_norm_and_says_so():
    batch = double(family().batch(0, 3))
    learner = maml("transductive", objective="kl")
    with pytest.raises(metaft.MetaftError, match="use objective 'l2'"):
        learner.meta_gradient(batch)
    learner.meta_gradient(unpadded(batch, 0))


def test_without_padding_nothing_is_weighted():
    batch = double(Episodes(images(), ways=5, shots=1, queries=2).batch(0, 3))
    even = double(family(fewest_ways=5, fewest_shots=3).batch(0, 3))
    assert not even.ragged
    learner = maml("transductive")
    learner.ragged_support_loss = learner.ragged_query_loss = None
    learner._ragged = None
    learner.meta_gradient(batch)
    learner.meta_gradient(even)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 2])
def test_nearest_neighbour_answers_as_for_the_task_unpadded(k, metric):
    batch = double(family().batch(0, 30))
    learner = NearestNeighbour(metric=metric, k=k)
    curve = learner.curve(batch)
    scores = score(curve, batch.query_y, batch.support_y)[1][0]
    for task in range(30):
        one = unpadded(batch, task)
        expected = learner.curve(one)
        ways = expected.shape[-1]
        kept = curve[:, task, batch.query_y[task] >= 0]
        torch.testing.assert_close(kept[..., :ways], expected[:, 0], rtol=1e-10, atol=1e-10)
        assert scores[task] == score(expected, one.query_y, one.support_y)[1][0, 0]


def test_evaluation_leaves_padding_and_absent_classes_out():
    ragged = family(queries=4)
    learner = maml("inductive")
    learner.model.module.double()
    result = metaft.evaluate(Doubled(learner), ragged, tasks=8)
    (batch,) = draw(ragged, 8)
    for task in range(8):
        one = unpadded(double(batch), task)
        prediction = learner.curve(one)[-1, 0]
        ways = int(one.support_y.max()) + 1
        right = (prediction[:, :ways].argmax(-1) == one.query_y[0]).double().mean()
        assert result.per_task[task] == right
    loss = losses("classification", learner.curve(double(batch))[-1], batch.query_y)
    torch.testing.assert_close(loss, learner.meta_gradient(double(batch)).losses)
    assert validate(Doubled(learner), ragged, 8).metric == pytest.approx(float(result.per_task.mean()))


class Doubled:
    """The learner on tasks in double precision."""

    def __init__(self, learner):
        self.name, self.params, self.transductive = learner.name, learner.params, learner.transductive
        self.describe, self._learner = learner.describe, learner

    def curve(self, batch, steps=None):
        return self._learner.curve(double(batch), steps)


def test_an_absent_class_is_never_the_answer():
    support_y, query_y = torch.tensor([[0, 1, IGNORE]]), torch.tensor([[0, 1, IGNORE]])
    predictions = torch.tensor([[[[1.0, 0.0, 9.0], [0.0, 1.0, 9.0], [0.0, 0.0, 9.0]]]])
    assert score(predictions, query_y, support_y)[1].item() == 1
    assert score(predictions, query_y)[1].item() == 0
    assert score(predictions.where(predictions < 9, torch.nan), query_y, support_y)[2].item() is True


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fewest_ways": 6}, "ways = 6-5: a range should rise, from 2"),
        ({"fewest_ways": 1}, "ways = 1-5"),
        ({"fewest_shots": 0}, "shots = 0-3"),
    ],
)
def test_bad_ranges(options, said):
    with pytest.raises(metaft.MetaftError, match=said):
        family(**options)


class Convolutional(nn.Module):
    """With a body and a head of its own, as learners with a backbone want it."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten())
        self.head = nn.Linear(64, 5)

    def forward(self, x):
        return self.head(self.features(x))


OF_IMAGES = [name for name in LEARNERS if name != "in-context"]  # that one: tests/learners/test_in_context.py


@pytest.mark.share(2)
@pytest.mark.parametrize("name", OF_IMAGES)
def test_every_learner_answers_as_for_the_task_unpadded(name):
    batch = double(family(fewest_shots=2).batch(0, 6))
    torch.manual_seed(1)
    learner = build(name, Convolutional().double())
    answers = learner.curve(batch)[-1]
    for task in range(6):
        one = unpadded(batch, task)
        ways = int(one.support_y.max()) + 1
        expected = learner.curve(one)[-1, 0, :, :ways]
        kept = answers[task, batch.query_y[task] >= 0, :ways]
        torch.testing.assert_close(kept, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", MAMLS)
def test_the_answers_after_the_last_step_alone_are_those_of_the_curve(name):
    batch = double(family().batch(0, 6))
    learner = maml(name)
    counted = batch.query_y >= 0
    expected = learner.curve(batch)[-1][counted]
    torch.testing.assert_close(last_answers(learner, batch)[0][counted], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.share(2)
@pytest.mark.parametrize("name", OF_IMAGES)
def test_every_learner_answers_ragged_tasks_alike_with_and_without_a_curve(name):
    torch.manual_seed(1)
    learner = build(name, Convolutional().double())
    one, other = (
        metaft.evaluate(learner, DoubleFamily(family(fewest_shots=2)), 6, every_step=e) for e in (True, False)
    )
    assert torch.equal(one.per_task, other.per_task)


class DoubleFamily:
    """A family in float64."""

    def __init__(self, family):
        self.family = family

    def batch(self, index, tasks):
        return double(self.family.batch(index, tasks))

    def describe(self):
        return self.family.describe()
