"""Every head against scikit-learn, task by task."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import ensemble, linear_model, neighbors, svm

from metaft.errors import MetaftError
from metaft.learners.heads import build_head
from metaft.learners.heads.newton import conjugate_gradients, minimise
from metaft.tables import HEADS
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


SIZES = {
    **{f"{scale:g}": lambda x, scale=scale: scale * x for scale in (1e-4, 1.0, 30.0, 1e3, 1e6)},
    "offset": lambda x: x + 1e4,
    "one wide column": lambda x: x * torch.cat([torch.tensor([1e6]), torch.ones(x.shape[-1] - 1)]),
}
SHAPES = [(5, 5, 64), (2, 5, 8), (5, 10, 4), (3, 1, 9)]


def fitted_line(head, x, y, ways):
    """Weight and bias of task 1, in the features' own units: the scores of the origin and of each axis."""
    fitted = head.fit(x, y, ways)
    zero = torch.zeros(len(x), 1, x.shape[-1], dtype=x.dtype)
    unit = torch.eye(x.shape[-1], dtype=x.dtype).expand(len(x), -1, -1)
    bias = fitted.scores(zero)[1, 0]
    # Steps so long that the bias is not felt in them.
    step = 1e3 * (bias.abs().max() + 1) / (fitted.scores(unit)[1] - bias).abs().max().clamp(min=1e-12)
    return (fitted.scores(step * unit)[1] - bias) / step, bias


def logistic_value(weight, bias, x, y, strength=1.0):
    """The objective, precise where all is told apart with certainty; one row of weights for two classes there."""
    scores = x @ weight + bias
    ahead = scores - scores.gather(-1, y[:, None])
    ahead = ahead.scatter(-1, y[:, None], -torch.inf)
    most = ahead.amax(-1).clamp(min=0)
    rest = (ahead - most[:, None]).exp().sum(-1)
    loss = torch.where(most > 0, most + ((-most).exp() + rest).log(), rest.log1p())
    return float(loss.sum() + strength * (2 if weight.shape[1] == 2 else 1) * weight.square().sum() / 2)


def hinge_value(weight, bias, x, y):
    side = 2 * torch.nn.functional.one_hot(y, weight.shape[1]) - 1
    misses = (1 - side * (x @ weight + bias)).clamp(min=0)
    return float(misses.square().sum() + (weight.square().sum() + bias.square().sum()) / 2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("ways", "shots", "width"), SHAPES)
@pytest.mark.parametrize("solver", ["batched", "scikit-learn"])
def test_logistic_regression_arrives_at_any_size_of_features(size, ways, shots, width, solver):
    """The instance of the list: at size 1,000 its objective was up to 79% above the minimum."""
    if solver == "scikit-learn" and size in ("one wide column", "1e+06"):
        pytest.skip("the library's own end, which the test of this one is not for")
    x, y, queries = features(0, 3, ways, shots, width)
    x, queries = (SIZES[size](part) for part in (x, queries))
    # The same minimum by scikit-learn, on features of size 1 about 0 with C in proportion to the square of theirs.
    centre, spread = x[1].mean(0), float((x[1] - x[1].mean(0)).square().mean().sqrt())
    model = linear_model.LogisticRegression(C=spread**2, tol=1e-12, max_iter=20_000, solver="newton-cg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit((x[1] - centre) / spread, y[1])
    coefficients, level = torch.from_numpy(model.coef_).T, torch.from_numpy(model.intercept_)
    if ways == 2:
        coefficients, level = (torch.cat([-part, part], -1) / 2 for part in (coefficients, level))
    coefficients = coefficients / spread
    level = level - centre @ coefficients
    if solver == "batched":
        weight, bias = fitted_line(build_head("logistic"), x, y, ways)
        reference = logistic_value(coefficients, level, x[1], y[1])
        assert logistic_value(weight, bias, x[1], y[1]) <= reference * (1 + 2e-8)
    answers = (queries[1] @ coefficients + level).argmax(-1)
    found = build_head("logistic", solver).fit(x, y, ways).scores(queries)[1]
    assert torch.equal(found.argmax(-1), answers)


@pytest.mark.parametrize(("scale", "strength"), [(1e3, 1.0), (1e3, 1e-3), (1e6, 1.0)])
def test_logistic_regression_arrives_where_some_examples_are_told_apart_with_certainty(scale, strength):
    """Classes that overlap in part: Newton's steps leave 1/e of what is left, which is not the end of them."""
    x, y, _ = features(1, 2, 5, 20, 8)
    weight, bias = fitted_line(build_head("logistic", regularisation=strength), scale * x, y, 5)
    model = linear_model.LogisticRegression(C=scale**2 / strength, tol=1e-12, max_iter=20_000, solver="newton-cg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x[1], y[1])
    coefficients, level = torch.from_numpy(model.coef_).T / scale, torch.from_numpy(model.intercept_)
    reference = logistic_value(coefficients, level, scale * x[1], y[1], strength)
    assert logistic_value(weight, bias, scale * x[1], y[1], strength) <= reference * (1 + 1e-10)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("ways", "shots", "width"), SHAPES)
def test_a_support_vector_machine_arrives_at_any_size_of_features(size, ways, shots, width):
    x, y, _ = features(0, 3, ways, shots, width)
    x = SIZES[size](x)
    weight, bias = fitted_line(build_head("svm"), x, y, ways)
    here = hinge_value(weight, bias, x[1], y[1])
    if size in ("offset", "one wide column", "1e+06"):  # scikit-learn does not arrive: no way down is left instead
        draw = torch.Generator().manual_seed(0)
        for _ in range(50):
            aside = torch.randn(weight.shape, generator=draw, dtype=x.dtype) * weight.abs() * 1e-3
            assert hinge_value(weight + aside, bias, x[1], y[1]) >= here * (1 - 1e-9)
            shift = torch.randn(bias.shape, generator=draw, dtype=x.dtype) * bias.abs() * 1e-3
            assert hinge_value(weight, bias + shift, x[1], y[1]) >= here * (1 - 1e-9)
        return
    model = REFERENCE["svm"](1.0).set_params(max_iter=100_000).fit(x[1], y[1])
    coefficients, level = torch.from_numpy(model.coef_).T, torch.from_numpy(model.intercept_)
    if ways == 2:
        coefficients, level = (torch.cat([-part, part], -1) for part in (coefficients, level))
    assert here <= hinge_value(coefficients, level, x[1], y[1]) * (1 + 2e-8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("real", [False, True])
def test_ridge_is_scikit_learns_at_any_size_of_features(size, real):
    x, y, queries = features(0, 3, 4, 3, 40 if real else 5)
    x, queries = (SIZES[size](part) for part in (x, queries))
    if real:
        aims = torch.randn(*y.shape, 2, generator=torch.Generator().manual_seed(1)).double()
        model = linear_model.Ridge(solver="svd").fit(x[1], aims[1])
        expected, outputs = torch.from_numpy(model.predict(queries[1])), 2
    else:
        aims, outputs = y, 4
        model = linear_model.RidgeClassifier(solver="svd").fit(x[1], y[1])
        expected = torch.from_numpy(model.decision_function(queries[1]))
    found = build_head("ridge").fit(x, aims, outputs).scores(queries)[1]
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["logistic", "ridge"])
def test_a_head_of_scaled_features_with_a_scaled_penalty_is_the_same_head(name):
    """f(a x, a² λ) = f(x, λ) where the bias is free; what is minimised is not changed by how it is minimised."""
    x, y, queries = features(2, 3, 4, 4, 6)
    here = build_head(name, regularisation=0.5).fit(x, y, 4).scores(queries)
    for scale in (1e-4, 1e4):
        there = build_head(name, regularisation=0.5 * scale**2).fit(scale * x, y, 4).scores(scale * queries)
        torch.testing.assert_close(there, here, rtol=1e-7, atol=1e-7)


def test_many_classes_of_large_features_arrive_and_tasks_are_independent():
    """More numbers a task than are solved for at once."""
    x, y, queries = features(0, 2, 20, 2, 30)
    for scale in (1.0, 1e5):
        together = build_head("logistic").fit(scale * x, y, 20).scores(scale * queries)
        alone = build_head("logistic").fit(scale * x[:1], y[:1], 20).scores(scale * queries[:1])
        torch.testing.assert_close(alone, together[:1], rtol=1e-4, atol=1e-6)


def test_conjugate_gradients_say_what_they_could_not_solve():
    diagonal = torch.stack([torch.linspace(1, 2, 6), torch.logspace(-14, 0, 6)]).double()[..., None]
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)).double())[0]
    right = torch.ones(2, 6, 1).double()
    product = lambda v: turn @ (diagonal * (turn.T @ v))
    found, solved = conjugate_gradients(product, right, torch.ones_like(right))
    assert bool(solved[0])
    torch.testing.assert_close(product(found)[0], right[0], rtol=1e-2, atol=1e-2)
    nothing, solved = conjugate_gradients(product, torch.zeros_like(right), torch.ones_like(right))
    assert not nothing.any()
    assert bool(solved.all())


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
        (lambda: build_head("ridge", regularisation=0.0), "regularisation must be a positive finite number, not 0.0"),
        (
            lambda: build_head("svm", regularisation=float("nan")),
            "regularisation must be a positive finite number, not nan",
        ),
        (lambda: build_head("forest", trees=0), "trees must be a whole number of at least 1"),
        (lambda: build_head("svm").fit(torch.zeros(1, 2, 3), torch.zeros(1, 2, 1), 1), "real-valued targets"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(MetaftError, match=message):
        make()
