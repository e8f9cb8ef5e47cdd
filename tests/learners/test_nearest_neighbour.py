import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metaft.errors import MetaftError
from metaft.evaluation.evaluate import evaluate
from metaft.learners.nearest_neighbour import NearestNeighbour
from metaft.tasks.batch import IGNORE, TaskBatch
from tests.evaluation.toys import Blobs, Lines

neighbors = pytest.importorskip("sklearn.neighbors")


def images(seed, tasks=3, ways=4, shots=3, queries=5):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(ways).repeat(shots)
    order = torch.stack([labels[torch.randperm(len(labels), generator=rng)] for _ in range(tasks)])
    support = torch.rand(tasks, ways * shots, 1, 3, 3, generator=rng)
    query = torch.rand(tasks, queries, 1, 3, 3, generator=rng)
    return TaskBatch(support, order, query, torch.zeros(tasks, queries, dtype=torch.int64))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_one_neighbour_agrees_with_scikit_learn(metric, seed):
    batch = images(seed)
    scores = NearestNeighbour(metric=metric).curve(batch)
    assert scores.shape == (1, 3, 5, 4)
    for task in range(3):
        model = neighbors.KNeighborsClassifier(1, metric=metric, algorithm="brute")
        model.fit(batch.support_x[task].flatten(1).double(), batch.support_y[task])
        expected = model.predict(batch.query_x[task].flatten(1).double())
        assert np.array_equal(scores[0, task].argmax(-1), expected)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_scores_are_negative_distances_to_each_class(metric):
    batch = images(1)
    scores = NearestNeighbour(metric=metric).curve(batch)[0]
    for task, query, label in [(0, 0, 0), (1, 3, 2), (2, 4, 3)]:
        x = batch.query_x[task, query].flatten().double().numpy()
        keys = batch.support_x[task][batch.support_y[task] == label].flatten(1).double().numpy()
        gaps = np.linalg.norm(keys - x, axis=1)
        if metric == "cosine":
            gaps = 1 - keys @ x / np.linalg.norm(keys, axis=1) / np.linalg.norm(x)
        assert -float(scores[task, query, label]) == pytest.approx(gaps.min(), rel=1e-4)


def test_neighbours_vote_and_the_nearer_class_wins_a_tie():
    support = torch.tensor([[[0.0], [1.0], [1.1], [5.0], [6.0]]])
    query = torch.tensor([[[0.2]]])
    for turn in ([0, 1, 2], [2, 1, 0]):  # whichever label is lower
        labels = torch.tensor(turn)[torch.tensor([[0, 1, 1, 2, 2]])]
        answers = [int(NearestNeighbour(k=k).adapt(support, labels)(query).argmax()) for k in (1, 2, 3, 5)]
        assert answers == [turn[0], turn[0], turn[1], turn[1]]


def test_a_tied_vote_goes_to_the_nearer_class_however_far_both_are():
    support = torch.tensor([[[3e4], [1.0], [1.001e4], [1e4]]])
    for labels in ([[0, 1, 1, 2]], [[0, 2, 2, 1]]):
        scores = NearestNeighbour(k=3).adapt(support, torch.tensor(labels))(torch.full((1, 1, 1), 9999.0))
        assert int(scores.argmax()) == labels[0][1]  # two votes against one
        scores = NearestNeighbour(k=2).adapt(support[:, 1:], torch.tensor(labels)[:, 1:])(torch.full((1, 1, 1), 9999.0))
        assert int(scores.argmax()) == labels[0][3]  # one vote each; 1 against 11 away


def test_padding_has_no_vote():
    batch = images(5, shots=2)
    padded = torch.cat([batch.support_x, batch.query_x[:, :2]], dim=1)
    labels = torch.cat([batch.support_y, torch.full((3, 2), IGNORE)], dim=1)
    for k in (1, 3, 8):
        learner = NearestNeighbour(k=k)
        alone = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
        assert torch.equal(learner.adapt(padded, labels)(batch.query_x), alone)
    with pytest.raises(MetaftError, match="k=9 neighbours asked of a support set of 8"):
        NearestNeighbour(k=9).adapt(padded, labels)


def test_equal_images_are_at_distance_zero():
    x = torch.rand(2, 40, 1, 28, 28) + 5
    labels = torch.arange(40).expand(2, 40)
    scores = NearestNeighbour().adapt(x, labels)(x)
    assert torch.equal(scores.diagonal(dim1=-2, dim2=-1), torch.zeros(2, 40))


def test_queries_do_not_influence_each_other():
    batch = images(2, queries=30)
    alone = TaskBatch(batch.support_x, batch.support_y, batch.query_x[:, 7:8], batch.query_y[:, 7:8])
    learner = NearestNeighbour()
    assert not learner.transductive
    torch.testing.assert_close(learner.curve(alone)[0, :, 0], learner.curve(batch)[0, :, 7])


def test_permuting_labels_permutes_scores():
    batch = images(3)
    turn = torch.tensor([2, 0, 3, 1])
    turned = TaskBatch(batch.support_x, turn[batch.support_y], batch.query_x, batch.query_y)
    a, b = (NearestNeighbour(metric="cosine", k=3).curve(x) for x in (batch, turned))
    torch.testing.assert_close(a, b[..., turn])


def test_a_blank_image_has_finite_scores():
    batch = images(4)
    blank = TaskBatch(batch.support_x, batch.support_y, torch.zeros_like(batch.query_x), batch.query_y)
    assert NearestNeighbour(metric="cosine").curve(blank).isfinite().all()


def test_separated_blobs_are_told_apart():
    assert evaluate(NearestNeighbour(), Blobs(gap=40.0), tasks=100).mean > 0.95
    assert evaluate(NearestNeighbour(), Blobs(gap=0.0), tasks=200).mean == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NearestNeighbour(metric="euclid"), "did you mean 'euclidean'"),
        (lambda: NearestNeighbour(k=0), "of at least 1, not 0"),
        (lambda: NearestNeighbour(k=13).curve(images(0)), "k=13 neighbours asked of a support set of 12"),
        (lambda: NearestNeighbour().curve(Lines().batch(0, 2)), "real-valued targets"),
        (lambda: NearestNeighbour().meta_gradient(images(0)), "no parameters to meta-train"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(MetaftError, match=message):
        make()


def test_raw_pixels_on_omniglot():
    omniglot = pytest.importorskip("metaft.data.omniglot")
    episodes = pytest.importorskip("metaft.tasks.episodes")
    root = os.environ.get("METAFT_DATA")
    if not root or not (Path(root) / "omniglot").is_dir():
        pytest.skip("METAFT_DATA is unset or holds no omniglot")
    family = episodes.Episodes(omniglot.load("test"), 5, 1, 15, dataset="omniglot", split="test")
    result = evaluate(NearestNeighbour(), family, tasks=600)
    # Measured independently: 43.4 ± 0.9 % (shared/numbers.md).
    assert result.mean == pytest.approx(0.434, abs=0.018)
