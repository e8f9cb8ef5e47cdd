"""The numbers of a row of metrics, each under the tag that TensorBoard and others show it by, and what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

SCORES = {
    "accuracy": "share of right answers, 0 to 1",
    "mse": "mean squared error",
    "perplexity": "e to the mean loss of a word",
    "reward": "mean reward of the answers",
}
"""What a validation can measure."""

DESCRIPTIONS = {
    "train/loss": "mean query loss of the updates since the row before, each before its update",
    "train/{score}_before": "{what}, of the queries before adapting to the support set; of the latest update's tasks",
    "train/{score}_after": "{what}, of the queries after the last inner step; of the latest update's tasks",
    "train_{score}_per_step/step_{step}": "{what}, of the queries after {step} inner steps, likewise",
    "train/gradient_norm": "Euclidean norm of the meta-gradient, before clipping",
    "train/learning_rate": "of the outer optimiser, at the latest update",
    "train_adjoint_norm_per_step/step_{step}": "norm of the adjoint at inner step {step}: exploding, vanishing?",
    "train/{things}_per_second": "{things} trained on in a second, since the row before",
    "train/seconds": "time spent on updates, compiling not counted",
    "validation/loss": "mean query loss of the validation tasks",
    "validation/{score}": "{what}, of the validation tasks after adapting; squared errors are capped at 50 a task",
    "validation/ci95": "half width of the score's 95% interval over tasks",
    "validation/diverged": "validation tasks with an answer that is not finite",
    "validation/ece": "expected calibration error of the held-out answers, 15 bins",
    "validation/entropy": "mean entropy of the answers, in nats",
    "validation/agreement": "share of examples on which student and teacher choose the same class",
    "validation/unanswered": "examples with an answer that is not finite",
    "train/{score}": "{what}, of the latest update's examples",
    "{kind}/margin": "mean of the better answer's score less the worse one's",
    "{kind}/chosen": "mean score of the better answers",
    "{kind}/rejected": "mean score of the worse answers",
    "validation/calibration_error": "expected calibration error of the sigmoid of the margin, ten bins",
    "validation/words_right": "share of the asked words that were guessed",
    "validation/order_right": "share of pairs of segments whose order was told",
    "validation/perplexity_{things}": "perplexity of such words alone",
    "best_validation_{score}": "{what}, the best validation so far",
    "iterations": "meta-updates made",
    "minutes": "time spent on updates, compiling not counted",
}
"""Tag, with places for what differs → what the number is."""

_PLACES = {"kind": "train|validation", "score": "|".join(SCORES), "step": r"\d+", "things": r"\w+"}
_PATTERNS = {
    re.compile(re.sub(r"\\{(\w+)\\}", lambda found: f"(?P<{found[1]}>{_PLACES[found[1]]})", re.escape(tag))): text
    for tag, text in DESCRIPTIONS.items()
}


def description(tag: str) -> str:
    """What a number is.

    Args:
        tag: as `scalars` gives it.

    Returns:
        A sentence; empty for a number of somebody else's, such as a validation of one's own.
    """
    for pattern, text in _PATTERNS.items():
        if found := pattern.fullmatch(tag):
            places = found.groupdict()
            return text.format(**places, what=SCORES.get(places.get("score", ""), ""))
    return ""


def layout(seen: str | None, score: str) -> dict[str, dict[str, list[Any]]]:
    """The charts that TensorBoard's custom dashboard shows side by side.

    Args:
        seen: what training measures before and after adapting, such as "accuracy"; None for what does not adapt.
        score: what validation measures.

    Returns:
        Category → chart → kind and tags, as ``torch.utils.tensorboard`` takes it.
    """
    training = {"loss": ["Multiline", ["^train/loss$"]]}
    if seen is not None:
        both = [f"^train/{seen}_before$", f"^train/{seen}_after$"]
        training[f"{seen} before and after adapting"] = ["Multiline", both]
    validation = {
        score: ["Multiline", [f"^validation/{score}$"]],
        "loss": ["Multiline", ["^validation/loss$"]],
    }
    return {"training": training, "validation": validation}


def scalars(kind: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a row.

    Args:
        kind: "train" or "validation".
        values: numbers, or lists of one number per inner step; what is neither is left out.

    Yields:
        Tag, such as ``train/loss`` or ``train_accuracy_per_step/step_0``, and number.
    """
    for name, value in values.items():
        if isinstance(value, list):
            for step, entry in enumerate(value):
                yield f"{kind}_{name}/step_{step}", entry
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{kind}/{name}", value
