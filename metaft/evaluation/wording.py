"""Scores, tasks and methods in a few words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LABELS = {"accuracy": "accuracy, %", "mse": "mean squared error", "perplexity": "perplexity"}


def format_score(mean: float, ci95: float, metric: str) -> str:
    """``98.73 ± 0.24`` (per cent) for an accuracy, ``0.412 ± 0.031`` for an error.

    Args:
        mean: in [0, 1] for an accuracy.
        ci95: half width of the 95% interval, in the same unit; left out of the text when it is not a number.
        metric: ``"accuracy"`` or ``"mse"``.

    Returns:
        The text; ``n/a`` when there is no mean.
    """
    if not math.isfinite(mean):
        return "n/a"
    scale, digits = (100, 2) if metric == "accuracy" else (1, _digits(ci95 if ci95 > 0 else mean))
    text = f"{scale * mean:.{digits}f}"
    return f"{text} ± {scale * ci95:.{digits}f}" if math.isfinite(ci95) else text


def spoken_score(mean: float, ci95: float, metric: str) -> str:
    """A score in a sentence, such as ``accuracy 98.73 ± 0.24 %``.

    Args:
        mean, ci95, metric: as for `format_score`.
    """
    name, _, unit = LABELS[metric].partition(", ")
    return f"{name} {format_score(mean, ci95, metric)} {unit}".rstrip()


def describe_family(family: Mapping[str, Any]) -> str:
    """A task family in a few words, such as ``omniglot test, 5-way 1-shot``.

    Args:
        family: its `describe()`.

    Returns:
        The words; settings that are absent are passed over.
    """
    name = " ".join(str(family[key]) for key in ("dataset", "split") if family.get(key))
    shape = " ".join(f"{family[key]}-{word}" for key, word in (("ways", "way"), ("shots", "shot")) if family.get(key))
    return ", ".join(part for part in (name or str(family.get("family", "tasks")), shape) if part)


def describe_method(learner: Mapping[str, Any]) -> str:
    """What an inner loop is made of, such as ``head adapts × SGD × task loss × exact``.

    Args:
        learner: its `describe()`, perhaps read from a file.

    Returns:
        The words; empty for a learner without the four parts.
    """
    if not {"scope", "rule", "objective", "estimator"} <= set(learner):
        return ""
    objective = str(learner["objective"])
    start = ["head from prototypes"] if learner.get("start") == "prototypes" else []
    annealed = ["annealed"] if learner.get("annealing") else []
    parts = [
        f"{learner['scope']} adapts",
        str(learner["rule"]),
        "task loss" if objective == "task" else f"task loss + {objective} to the start",
        str(learner["estimator"]),
    ]
    return " × ".join(start + parts + annealed)


def _digits(size: float) -> int:
    """Decimals that leave two significant digits of a number; between 3 and 6."""
    if not math.isfinite(size) or size <= 0:
        return 3
    return min(6, max(3, 1 - math.floor(math.log10(size))))
