"""Learners by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Unpack, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from metaft.errors import MetaftError, nearest
from metaft.learners.class_means import ClassMeans
from metaft.learners.compositions import COMPOSITIONS
from metaft.learners.feature_extraction import FeatureExtraction
from metaft.learners.fine_tuning import FineTuning
from metaft.learners.learner import Learner, MetaLearner, Predictor
from metaft.learners.maml import MAML
from metaft.learners.metric import METRIC
from metaft.learners.nearest_neighbour import NearestNeighbour
from metaft.learners.through_learn2learn import Learn2Learn

__all__ = [
    "LEARNERS",
    "MAML",
    "ClassMeans",
    "FeatureExtraction",
    "FineTuning",
    "Learn2Learn",
    "Learner",
    "MetaLearner",
    "NearestNeighbour",
    "Predictor",
    "build",
]

Builder = Callable[..., Learner]
"""``builder(model, *, option=default, …)``: its signature lists the options, and whether the model may be None."""


META_TRAINED: dict[str, Builder] = {**COMPOSITIONS, **METRIC}
"""Learners that are meta-trained; all others use a network as it is."""

ANY_WAYS = frozenset({*METRIC, "proto-maml"})
"""Meta-trained learners without a parameter that is bound to the number of ways: one run answers tasks of any."""

LEARNERS: dict[str, Builder] = {
    "nearest-neighbour": NearestNeighbour,
    "class-means": ClassMeans,
    "feature-extraction": FeatureExtraction,
    "fine-tuning": FineTuning,
    "head-first": functools.partial(FineTuning, schedule="head-first"),
    "rotating": functools.partial(FineTuning, schedule="rotating"),
    "linearised": functools.partial(FineTuning, schedule="head-first", linearised=True),
    **META_TRAINED,
}


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
    require_known(name)
    return construct(f"learner {name!r}", LEARNERS[name], model, given)


def require_known(name: str) -> None:
    """Refuse a name that is not in the table.

    Args:
        name: of the table `LEARNERS`.

    Raises:
        MetaftError: naming the nearest one.
    """
    if name not in LEARNERS:
        raise MetaftError(f"unknown learner {name!r}{nearest(name, LEARNERS)}")


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
    takes = _signature(builder).get("model")
    if takes is None and model is not None:
        raise MetaftError(f"{whose} has no network of its own; leave the network out")
    if model is None and needs_model(builder):
        raise MetaftError(f"{whose} needs a network")
    return builder(**found) if takes is None else builder(model=model, **found)


def options(builder: Builder) -> dict[str, inspect.Parameter]:
    """The options of a builder by name: all its parameters but ``model``, annotations resolved.

    Args:
        builder: a function or class; ``**parts: Unpack[Parts]`` has the options of ``Parts``, None standing for the
            builder's own choice.

    Returns:
        The parameters.
    """
    found: dict[str, inspect.Parameter] = {}
    for name, p in _signature(builder).items():
        if p.kind is p.VAR_KEYWORD and get_origin(p.annotation) is Unpack:
            parts = get_type_hints(get_args(p.annotation)[0])
            found |= {n: inspect.Parameter(n, p.KEYWORD_ONLY, default=None, annotation=a) for n, a in parts.items()}
        elif name != "model" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            found[name] = p
    return found


def needs_model(builder: Builder) -> bool:
    """Whether a builder has a parameter ``model`` that does not take None."""
    takes = _signature(builder).get("model")
    return takes is not None and takes.default is not None and type(None) not in get_args(takes.annotation)


def _signature(builder: Builder) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(builder, eval_str=True).parameters


def convert(whose: str, builder: Builder, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check options against a builder's signature and convert those given as text.

    Args:
        whose: stands at the beginning of a message, such as ``learner 'maml'``.
        builder: has the options.
        given: option → value.

    Returns:
        Option → value of the annotated type.

    Raises:
        MetaftError: if an option is unknown or a value cannot be converted.
    """
    known = options(builder)
    found = {}
    for name, value in given.items():
        if name not in known:
            hint = nearest(name, known) if known else "; it has none"
            raise MetaftError(f"{whose} has no option {name!r}{hint}")
        found[name] = _from_text(whose, known[name], value) if isinstance(value, str) else value
    return found


def _from_text(whose: str, option: inspect.Parameter, text: str) -> Any:
    if option.annotation in (option.empty, Any):
        return text
    kind: TypeAdapter[Any] = TypeAdapter(option.annotation, config=ConfigDict(arbitrary_types_allowed=True))
    try:
        return kind.validate_python(text)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Input ")
        raise MetaftError(f"{whose}: {option.name} = {text}: {reason}") from None
