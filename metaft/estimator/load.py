"""`metaft.load`: from a run, a learner's name or a saved folder to an estimator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaft.errors import MetaftError, nearest
from metaft.estimator import saved
from metaft.estimator.estimator import FewShotClassifier, FewShotRegressor
from metaft.estimator.source import open_source
from metaft.tasks.family import Kind

KINDS = {"classification": FewShotClassifier, "regression": FewShotRegressor}


def load(learner: str | Path, *, kind: Kind | None = None, **reading: Any) -> FewShotClassifier | FewShotRegressor:
    """A learner as a classifier or regressor of scikit-learn: ``fit`` takes a support set, ``predict`` queries.

    Examples are read as the learner was trained: scaled, grey or in colours, ink bright or dark, in the words of its
    tokenizer, by the columns of its table. There is no axis of tasks: a support set is one task.

    Args:
        learner: a run directory; ``zoo:NAME``; a learner with options, as `metaft compare` reads it, such as
            ``class-means:backbone=hf:minilm,normalise=l2`` or ``runs/om:steps=5``; or a folder that ``save`` wrote,
            with its support set.
        kind: "classification" or "regression", for a learner that takes both; a run says it itself.
        reading: ``image_size``, ``colours`` and ``ink``, see `FewShotClassifier`.

    Returns:
        The estimator; one that was saved is fitted.

    Raises:
        MetaftError: if there is no such learner, or it is damaged.
    """
    if kind is not None and kind not in KINDS:
        raise MetaftError(f"unknown kind {kind!r}{nearest(str(kind), KINDS)}")
    if saved.is_saved(learner):
        return _restored(learner, reading)
    own = open_source(learner).kind
    if None not in (kind, own) and kind != own:
        raise MetaftError(f"kind = {kind!r}: {learner} was trained for {own}s; leave it out")
    made = KINDS[kind or own or "classification"](learner, **reading)
    made.check()
    return made


def _restored(folder: str | Path, reading: dict[str, Any]) -> FewShotClassifier | FewShotRegressor:
    if reading:
        raise MetaftError(f"{next(iter(reading))} is part of what {folder} holds; leave it out")
    state = saved.read(folder)
    classes = {made.__name__: made for made in KINDS.values()}
    if state.estimator not in classes:
        raise MetaftError(f"{folder} holds a {state.estimator}, which this metaft does not know; update metaft")
    made = classes[state.estimator](folder, **state.params)
    made.__dict__ |= state.attributes
    return made
