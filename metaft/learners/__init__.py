"""Learners by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from metaft.errors import MetaftError, nearest
from metaft.inner.rules import RULES
from metaft.learners.learner import Learner, MetaLearner, Predictor
from metaft.learners.maml import MAML
from metaft.learners.nearest_neighbour import NearestNeighbour

__all__ = ["LEARNERS", "MAML", "Learner", "MetaLearner", "NearestNeighbour", "Predictor", "build"]


def _maml(model: nn.Module, *, inner_lr: float = 0.4, steps: int = 1, rule: str = "sgd", **options: Any) -> MAML:
    if rule not in RULES:
        raise MetaftError(f"unknown rule {rule!r}{nearest(rule, RULES)}")
    return MAML(model, RULES[rule](inner_lr, steps), steps, **options)


def _fomaml(model: nn.Module, *, estimator: str = "first-order", **options: Any) -> MAML:
    if estimator != "first-order":
        raise MetaftError(f"learner 'fomaml' is MAML with estimator 'first-order', not {estimator!r}; use 'maml'")
    return _maml(model, estimator=estimator, **options)


LEARNERS: dict[str, Callable[..., Learner]] = {"maml": _maml, "fomaml": _fomaml}
OPTIONS = {
    "inner_lr",
    *(name for name, p in inspect.signature(MAML).parameters.items() if name != "model"),
}


def build(name: str, model: nn.Module, **options: Any) -> Learner:
    """Make a learner around a network.

    Args:
        name: "maml" or "fomaml".
        model: the network; it is copied.
        options: the learner's own (``inner_lr``, ``steps``, ``estimator``, ``batch_norm``, ``kind``, ``memory``,
            ``engine``, ``workers``).

    Returns:
        The learner.

    Raises:
        MetaftError: if the name or an option is unknown.
    """
    if name not in LEARNERS:
        raise MetaftError(f"unknown learner {name!r}{nearest(name, LEARNERS)}")
    for option in options:
        if option not in OPTIONS:
            raise MetaftError(f"learner {name!r} has no option {option!r}{nearest(option, OPTIONS)}")
    return LEARNERS[name](model, **options)
