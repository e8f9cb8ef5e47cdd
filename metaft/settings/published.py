"""Rates and steps as published, by method and kind of tasks; the methods' docstrings say where they come from."""

from __future__ import annotations

import re
from typing import Any

from metaft.plugins import is_import_path
from metaft.settings.family import REGRESSIONS

NATURAL = ("mini-imagenet", "cifar-fs", "folder")
MANY = 10
"""From so many ways on, what was published for 20 ways holds."""

Defaults = dict[str, Any]
_TOWARDS_THE_END: Defaults = {"outer": "sgd", "outer_lr": 1.0, "schedule": "linear"}  # a share of the way there
_FIVE_STEPS: Defaults = {"steps": 5}
_MAML: dict[str, Defaults] = {  # one step in training and three at test, five and five, five and ten
    "characters": {"test_steps": 3},
    "many ways": {"steps": 5, "test_steps": None},
    "natural": {"test_steps": 10},
}
CHANGES_TEST = ("steps", "scope", "rule", "objective", "estimator")
"""With one of these given a method is another one, and as many steps are taken at test as in training."""

_NO_INNER_LOOP: Defaults = {"inner_lr": None, "steps": None, "test_steps": None}

# method → kind of tasks → settings. "characters" holds for images of all kinds, unless "many ways" or "natural" says
# otherwise. What stands nowhere is the data set's own, which is MAML's (metaft/settings/family.py).
BY_METHOD: dict[str, dict[str, Defaults]] = {
    "maml": _MAML,
    "fomaml": {
        "characters": {"inner_lr": 0.3, "test_steps": 3},
        "many ways": {"inner_lr": 1.0, "steps": 5, "test_steps": None},
        "natural": {"inner_lr": 0.05, "test_steps": 10},
    },
    **{name: {"many ways": _FIVE_STEPS} for name in ("anil", "meta-curvature")},
    "boil": {
        "characters": {"inner_lr": 0.5},
        "natural": {"inner_lr": 0.5, "steps": 1, "test_steps": None},
    },
    "reptile": {
        "characters": {"inner_lr": 0.001, "steps": 3, "test_steps": 5, **_TOWARDS_THE_END},
        "many ways": {"inner_lr": 0.00046, "steps": 12, "test_steps": 97},
        "natural": {"inner_lr": 0.001, "steps": 15, "test_steps": 10},
        "regression": {"inner_lr": 0.02, "steps": 5, "rule": "sgd", **_TOWARDS_THE_END},
    },
    "imaml": {
        "characters": {"inner_lr": 0.1, "steps": 16},
        "many ways": {"inner_lr": 0.1, "steps": 25},
        "natural": {"inner_lr": 0.1, "steps": 10, "objective_weight": 0.5, "test_steps": None},
        "regression": {"steps": 16},
    },
    "meta-sgd": {
        "characters": {"inner_lr": 0.05},
        "natural": {"inner_lr": 0.05, "steps": 1, "test_steps": None},
        "regression": {"inner_lr": 0.05},
    },
    "maml++": {
        "characters": {"inner_lr": 0.1, "steps": 5, "schedule": "cosine"},
        "natural": {"inner_lr": 0.01, "steps": 5, "test_steps": None, "multi_step_epochs": 15},
        "regression": {"inner_lr": 0.01, "steps": 5, "schedule": "cosine"},
    },
    "cavia": {
        "characters": {"inner_lr": 1.0, "steps": 2},
        "natural": {"inner_lr": 1.0, "steps": 2, "test_steps": None},
        "regression": {"inner_lr": 1.0, "steps": 1},
    },
    "proto-maml": {"characters": {"inner_lr": 0.1}},
    **{
        name: {"characters": _NO_INNER_LOOP, "regression": _NO_INNER_LOOP}
        for name in ("protonet", "matching", "matching-fce", "r2d2", "in-context")
    },
}

# Learners that were published with more ways in training than in test: for data sets of so many classes, unless ways
# are drawn from a range. One such task has as many images as several small ones.
_MANY_CLASSES = ("glyphs", "omniglot")
_TRAINED_WIDER: dict[str, Defaults] = {
    "protonet": {"train_ways": 60, "tasks": 1},
    "r2d2": {"train_ways": 60, "tasks": 1},
}


def method_defaults(given: Defaults) -> Defaults:
    """What a method's paper says about rate and steps for tasks of this kind.

    Args:
        given: settings as given, not checked yet; ``learner``, ``dataset`` and ``ways`` are looked at.

    Returns:
        Setting → value, for those that differ from the data set's own.
    """
    published = BY_METHOD.get(str(given.get("learner") or "maml"), {})
    dataset = str(given.get("dataset"))
    if dataset in REGRESSIONS:
        return published.get("regression", {})
    ways = re.search(r"\d+\s*$", str(given.get("ways", "")))
    found = dict(published.get("characters", {}))
    ranged = given.get("fewest_ways") is not None or "-" in str(given.get("ways", ""))
    if str(given.get("dataset") or "glyphs") in _MANY_CLASSES and not ranged:
        found |= _TRAINED_WIDER.get(str(given.get("learner")), {})
    if is_import_path(dataset):
        found.pop("test_steps", None)  # nobody published any for it
    if dataset in NATURAL:
        found |= published.get("natural", {})
    elif ways and int(ways[0][:9]) >= MANY:
        found |= published.get("many ways", {})
    return found
