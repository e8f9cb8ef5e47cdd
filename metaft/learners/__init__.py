"""Learners by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from torch import nn

from metaft.errors import MetaftError
from metaft.learners.class_means import ClassMeans
from metaft.learners.feature_extraction import FeatureExtraction
from metaft.learners.fine_tuning import FineTuning
from metaft.learners.learner import Learner, MetaLearner, Predictor
from metaft.learners.maml import MAML
from metaft.learners.nearest_neighbour import NearestNeighbour
from metaft.learners.through_learn2learn import Learn2Learn
from metaft.parts import convert, options, signature
from metaft.tables import LEARNERS, META_TRAINED, METRIC

__all__ = [
    "LEARNERS",
    "MAML",
    "META_TRAINED",
    "ClassMeans",
    "FeatureExtraction",
    "FineTuning",
    "Learn2Learn",
    "Learner",
    "MetaLearner",
    "NearestNeighbour",
    "Predictor",
    "build",
    "convert",
    "options",
]

Builder = Callable[..., Learner]
"""``builder(model, *, option=default, …)``: its signature lists the options, and whether the model may be None."""


ANY_WAYS = frozenset({*METRIC, "proto-maml"})
"""Meta-trained learners without a parameter that is bound to the number of ways: one run answers tasks of any."""


def build(name: str, model: nn.Module | None = None, **given: Any) -> Learner:
    """Make a learner by name.

    Args:
        name: of the table `LEARNERS`.
        model: the network, for a learner that has one; it is copied.
        given: the learner's options (see `options`); text, as a command line gives it, is converted.

    Returns:
        The learner.

    Raises:
        MetaftError: if the name or an option is unknown, a value does not fit, or the network is missing.
    """
    return construct(f"learner {name!r}", LEARNERS[name], model, given)


def construct(whose: str, builder: Builder, model: nn.Module | None, given: Mapping[str, Any]) -> Learner:
    """Call a builder, of the table or of the user's own.

    Args:
        whose: stands at the beginning of a message, such as ``learner 'maml'``.
        builder: a function or class; takes ``model`` if it has a parameter of that name.
        model: the network, or None.
        given: option → value; text is converted.

    Returns:
        The learner.

    Raises:
        MetaftError: as `build`.
    """
    found = convert(whose, builder, given)
    takes = signature(builder).get("model")
    if takes is None and model is not None:
        raise MetaftError(f"{whose} has no network of its own; leave the network out")
    if model is None and needs_model(builder):
        raise MetaftError(f"{whose} needs a network")
    return builder(**found) if takes is None else builder(model=model, **found)


def needs_model(builder: Builder) -> bool:
    """Whether a builder has a parameter ``model`` that does not take None."""
    takes = signature(builder).get("model")
    return takes is not None and takes.default is not None and type(None) not in get_args(takes.annotation)
