"""The numbers of a row of metrics, each under the tag that TensorBoard and others show it by, and what they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


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
