"""What scikit-learn asks of an estimator."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import metaft
from metaft.errors import MetaftError
from metaft.estimator.estimator import FewShotClassifier

EXCLUDED: dict[str, str] = {}
"""Checks that are left out → why. None is: all are of rows of numbers; images and texts have tests of their own."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("learner", "kind"),
    [
        ("nearest-neighbour", "classification"),
        ("class-means:centre=support", "classification"),
        ("feature-extraction:head=ridge", "regression"),
    ],
)
def test_scikit_learns_own_checks_pass(learner: str, kind: str) -> None:
    found = check_estimator(metaft.load(learner, kind=kind), expected_failed_checks=EXCLUDED, on_skip=None)
    assert len(found) > 30
    skipped = {one["check_name"] for one in found if one["status"] != "passed"}  # what is not installed here
    assert skipped <= {
        "check_array_api_input",
        "check_classifier_data_not_an_array",
        "check_regressor_data_not_an_array",
    }


def blobs(seed: int = 0, each: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds, named by words."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0, 0, 9], [9, 0, 0], [0, 9, 0]])
    return np.concatenate([c + rng.normal(size=(each, 3)) for c in centres]), np.repeat(["old", "new", "odd"], each)


def test_it_is_a_part_of_scikit_learns_world() -> None:
    x, y = blobs()
    made = make_pipeline(StandardScaler(), metaft.load("class-means"))
    assert cross_val_score(made, x, y, cv=3).mean() == 1
    assert made.fit(x, y).classes_.tolist() == ["new", "odd", "old"]
    np.testing.assert_allclose(made.predict_proba(x).sum(1), 1)


def test_clones_and_copies() -> None:
    x, y = blobs()
    made = metaft.load("nearest-neighbour:k=3", ink="dark").fit(x, y)
    fresh = clone(made)
    assert fresh.get_params() == made.get_params()
    assert not hasattr(fresh, "classes_")
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        np.testing.assert_array_equal(other.predict_proba(x), made.predict_proba(x))


def test_one_line_says_what_matters() -> None:
    made = metaft.load("nearest-neighbour:k=3", image_size=32)
    assert repr(made) == "FewShotClassifier('nearest-neighbour:k=3', image_size=32)"
    x, y = blobs(each=4)
    made = metaft.load("nearest-neighbour").fit(x[:-1], y[:-1])
    assert repr(made) == "FewShotClassifier('nearest-neighbour', inductive, 3 classes × 3 to 4 support examples)"
    made = metaft.load("feature-extraction:head=ridge", kind="regression").fit(x, x[:, 0])
    assert repr(made).endswith("inductive, 1 target, 12 support examples)")


def test_the_nearest_support_example_is_the_nearest() -> None:
    x, y = blobs()
    queries = blobs(1)[0]
    found = metaft.load("class-means:normalise=none").fit(x, y).nearest_support(queries)
    np.testing.assert_array_equal(found, ((queries[:, None] - x[None]) ** 2).sum(-1).argmin(1))


@pytest.mark.parametrize("name", ["x", "int", "bool", "float"])
def test_labels_come_back_as_they_were_given(name: str) -> None:
    x, y = blobs()
    kinds = {"x": y.astype(object), "int": (y == "old") * 7, "bool": y == "old", "float": (y == "old") * 2.0}
    found = metaft.load("nearest-neighbour").fit(x, kinds[name]).predict(x)
    assert found.dtype == kinds[name].dtype
    assert found.tolist() == kinds[name].tolist()


@pytest.mark.parametrize(
    ("learner", "how", "said"),
    [
        ("nearest-neighbor", {}, "did you mean 'nearest-neighbour'"),
        ("nearest-neighbour:metrik=cosine", {}, "did you mean 'metric'"),
        ("class-means:backbone=random", {}, "backbone=RUN"),
        ("fine-tuning", {}, "needs a network"),
        ("absent/run", {}, "no run in absent/run"),
        ("nearest-neighbour", {"kind": "clustering"}, "known: classification, regression"),
    ],
)
def test_mistakes_are_found_before_there_is_data(learner: str, how: dict[str, str], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        metaft.load(learner, **how)


def test_mistakes_in_a_support_set() -> None:
    x, y = blobs()
    made = metaft.load("nearest-neighbour")
    with pytest.raises(MetaftError, match="one class only"):
        made.fit(x[:3], y[:3])
    with pytest.raises(MetaftError, match="18 examples and 3 labels"):
        made.fit(x, y[:3])
    with pytest.raises(MetaftError, match="backbone=hf:minilm"):
        made.fit(["good", "bad"], [0, 1])
    with pytest.raises(MetaftError, match="real-valued"):
        metaft.load("nearest-neighbour", kind="regression").fit(x, x[:, 0])
    assert isinstance(made, FewShotClassifier)
