"""Every head against scikit-learn, task by task."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import ensemble, linear_model, neighbors, svm

from metaft.errors import MetaftError
from metaft.learners.heads import HEADS, build_head
from metaft.learners.heads.newton import minimise
from metaft.tasks.batch import IGNORE

REFERENCE = {
    "logistic": lambda strength: linear_model.LogisticRegression(C=1 / strength, tol=1e-10, max_iter=100_000),
    "ridge": lambda strength: linear_model.RidgeClassifier(alpha=strength),
    "svm": lambda strength: svm.LinearSVC(C=1 / strength, tol=1e-10, max_iter=10_000_000, random_state=1),
}


def features(seed, tasks, ways, shots, width, queries=7, scale=1.0):
    rng = torch.Generator().manual_seed(seed)
    centres = torch.randn(tasks, 1, ways, width, generator=rng)
    points = centres + torch.randn(tasks, shots + queries, ways, width, generator=rng)
    points = (scale * points).double()
    labels = torch.arange(ways).repeat(tasks, shots)
    order = torch.randperm(ways * shots, generator=rng)
    return points[:, :shots].flatten(1, 2)[:, order], labels[:, order], points[:, shots:].flatten(1, 2)


def decision(model, x):
    values = model.decision_function(x)
    return np.stack([-values, values], 1) if values.ndim == 1 else values


@pytest.mark.parametrize("name", REFERENCE)
@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 1000),
    ways=st.integers(2, 6),
    shots=st.integers(1, 6),
    width=st.sampled_from([2, 9, 40]),  # more examples than features, and fewer
    strength=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_all_tasks_at_once_agree_with_scikit_learn(name, seed, ways, shots, width, strength):
    x, y, queries = features(seed, 3, ways, shots, width)
    scores = build_head(name, regularisation=strength).fit(x, y, ways).scores(queries)
    for task in range(3):
        model = REFERENCE[name](strength).fit(x[task], y[task])
        given = scores[task]
        if name == "logistic":
            chances = torch.from_numpy(model.predict_proba(queries[task]))
            torch.testing.assert_close(given.softmax(-1), chances, rtol=0, atol=1e-5)
        else:
            expected = torch.from_numpy(decision(model, queries[task]))
            if name == "ridge" and ways == 2:  # one machine for two classes there, its negative here
                given = given - given.mean(-1, keepdim=True)
            torch.testing.assert_close(given, expected, rtol=0, atol=1e-4)


def test_predictions_agree_on_thousands_of_queries():
    for name in REFERENCE:
        x, y, queries = features(3, 60, 5, 1, 64, queries=10, scale=3)
        answers = [
            build_head(name, solver).fit(x.float(), y, 5).scores(queries.float()).argmax(-1)
            for solver in ("batched", "scikit-learn")
        ]
        assert (answers[0] == answers[1]).double().mean() >= 0.999


def test_the_solver_arrives_on_features_of_any_size():
    for scale in (1e-3, 1.0, 100.0, 1e5):  # the steps of a finite Newton method must not be cut short anyhow
        x, y, queries = features(1, 10, 5, 5, 64, scale=scale)
        for name in ("logistic", "svm"):
            scores = build_head(name).fit(x, y, 5).scores(queries)
            model = REFERENCE[name](1.0).set_params(max_iter=20_000).fit(x[1], y[1])
            assert np.mean(scores[1].argmax(-1).numpy() == model.predict(queries[1])) >= 0.95


def test_newton_minimises_what_is_not_quadratic():
    aim = torch.tensor([[[1.0, -3.0]], [[20.0, 0.0]]], dtype=torch.float64)
    value = lambda w: ((w - aim).square() + 1).sqrt().sum((-2, -1))

    def derivatives(w):
        root = ((w - aim).square() + 1).sqrt()
        return (w - aim) / root, lambda right: right * root**3

    torch.testing.assert_close(minimise(value, derivatives, torch.zeros_like(aim)), aim, atol=1e-6, rtol=0)
    # Nothing to find: the value falls for ever.
    fall, start = lambda w: -w.sum((-2, -1)), torch.zeros(1, 1, 1, dtype=torch.float64)
    with pytest.raises(MetaftError, match="did not converge"):
        minimise(fall, lambda w: (-torch.ones_like(w), lambda right: 1e9 * right), start)


def test_ridge_solves_a_regression():
    rng = torch.Generator().manual_seed(0)
    for width in (2, 9):
        x, y = torch.randn(3, 5, width, generator=rng), torch.randn(3, 5, 2, generator=rng)
        queries = torch.randn(3, 4, width, generator=rng)
        answers = build_head("ridge", regularisation=0.3).fit(x, y, 2).scores(queries)
        for task in range(3):
            expected = linear_model.Ridge(alpha=0.3).fit(x[task], y[task]).predict(queries[task])
            torch.testing.assert_close(
                answers[task], torch.from_numpy(expected), rtol=1e-4, atol=1e-5, check_dtype=False
            )


def test_a_forest_is_scikit_learns():
    x, y, queries = features(1, 2, 3, 4, 6)
    scores = build_head("forest", trees=25, seed=3).fit(x, y, 3).scores(queries)
    order = np.lexsort(x[1].numpy().T)
    forest = ensemble.RandomForestClassifier(25, random_state=3).fit(x[1].numpy()[order], y[1].numpy()[order])
    np.testing.assert_allclose(scores[1].exp(), forest.predict_proba(queries[1]), atol=1e-12)
    again = build_head("forest", trees=25, seed=4).fit(x, y, 3)
    assert not torch.equal(again.scores(queries), scores)
    assert again.numbers > 25


def test_the_nearest_mean_is_scikit_learns():
    x, y, queries = features(2, 3, 4, 3, 5)
    answers = build_head("nearest-mean").fit(x, y, 4).scores(queries).argmax(-1)
    for task in range(3):
        assert np.array_equal(answers[task], neighbors.NearestCentroid().fit(x[task], y[task]).predict(queries[task]))


@pytest.mark.parametrize("solver", ["batched", "scikit-learn"])
@pytest.mark.parametrize("name", HEADS)
def test_padding_and_absent_classes_change_nothing(name, solver):
    if solver not in HEADS[name].solvers:
        pytest.skip(f"head {name} has no solver {solver}")
    x, y, queries = features(4, 3, 4, 3, 6)
    head = build_head(name, solver)
    kept = y[1] < 2  # task 1 has two of the four classes; the rest of its support set is padding
    padded_y = torch.where(torch.tensor([False, True, False])[:, None] & ~kept, IGNORE, y)
    padded_x = x.masked_fill((padded_y == IGNORE)[..., None], 0.0)
    together = head.fit(padded_x, padded_y, 4).scores(queries)
    alone = head.fit(x[1:2, kept], y[1:2, kept], 2).scores(queries[1:2])
    torch.testing.assert_close(together[1:2, :, :2], alone, rtol=1e-8, atol=1e-8)
    assert together.isfinite().all()
    assert bool((together[1, :, 2:] == torch.finfo(torch.float64).min).all())
    torch.testing.assert_close(together[::2], head.fit(x, y, 4).scores(queries)[::2], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build_head("logistics"), "did you mean 'logistic'"),
        (
            lambda: build_head("forest", regularisation=1.0),
            "'forest' has no option 'regularisation'; its options: trees",
        ),
        (lambda: build_head("forest", "batched"), "'forest' has no solver 'batched'"),
        (lambda: build_head("ridge", regularisation=0.0), "regularisation must be above 0, got 0.0"),
        (lambda: build_head("svm", regularisation=float("nan")), "regularisation must be above 0, got nan"),
        (lambda: build_head("forest", trees=0), "trees must be above 0"),
        (lambda: build_head("svm").fit(torch.zeros(1, 2, 3), torch.zeros(1, 2, 1), 1), "real-valued targets"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(MetaftError, match=message):
        make()
