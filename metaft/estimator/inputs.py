"""What a user has becomes what a learner takes: images, texts and tables are read, each as the learner was trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from metaft.errors import MetaftError

NOUNS = {"images": "images", "texts": "texts", "numbers": "rows of numbers"}
"""Kind of inputs → what messages call them."""


class Inputs(Protocol):
    """How examples are read; what it says of itself is all that it needs to be made again."""

    @property
    def kind(self) -> str:
        """ "images", "texts" or "numbers"."""
        ...

    def read(self, given: Any) -> Tensor:
        """Examples as the learner takes them.

        Args:
            given: what the user has, of `kind`.

        Returns:
            ``[examples, *input]``.

        Raises:
            MetaftError: naming the example that cannot be read.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Its settings, JSON-able."""
        ...


def kind_of(given: Any) -> str:
    """What a user's examples are.

    Args:
        given: arrays, tensors, frames, or lists of pictures, paths, texts or rows.

    Returns:
        "images", "texts" or "numbers"; whatever is none of the first two is taken for numbers, and checked as such.
    """
    first = first_of(given)
    if isinstance(first, Image.Image | Path):
        return "images"
    if isinstance(first, str):
        return "images" if os.path.isfile(first) and not first.lower().endswith((".txt", ".csv", ".tsv")) else "texts"
    if isinstance(first, tuple) and len(first) == 2 and all(isinstance(part, str) for part in first):
        return "texts"
    axes = len(shape) if (shape := getattr(given, "shape", None)) is not None else 1 + _depth(first)
    return "images" if axes in (3, 4) else "numbers"


def require_kind(given: Any, wanted: str, whose: str) -> None:
    """Refuse examples of another kind than a learner was made for.

    Args:
        given: what the user has.
        wanted: "images", "texts" or "numbers".
        whose: the learner, for the message.

    Raises:
        MetaftError: naming both.
    """
    found = kind_of(given)
    if found == wanted or (wanted == "images" and found == "numbers"):  # flat pixels are looked at there
        return
    hint = ""
    first = first_of(given)
    if wanted == "images" and isinstance(first, str):
        hint = f"; there is no file {first!r}"
    raise MetaftError(f"{whose} reads {NOUNS[wanted]}, and these examples are {NOUNS[found]}{hint}")


def first_of(given: Any) -> Any:
    """The first example; None if there is none, or examples do not come one by one."""
    if hasattr(given, "iloc"):  # a frame or series of pandas, whose rows have labels of their own
        rows = given.iloc[:1].to_numpy()
        return rows[0] if len(rows) else None
    try:
        return next(iter(given), None)
    except (TypeError, NotImplementedError):
        return None


def listed(given: Any) -> list[Any]:
    """Examples that come one by one: a list, an array of objects, a series."""
    return list(given.to_numpy() if hasattr(given, "to_numpy") else given)


def count_of(given: Any) -> int:
    """How many examples there are.

    Args:
        given: as for `kind_of`.

    Raises:
        MetaftError: if they cannot be counted.
    """
    try:
        shape = getattr(given, "shape", None)
        return int(shape[0]) if shape else len(given)
    except TypeError:
        raise MetaftError(f"examples are given as a list, an array or a frame, not as {type(given).__name__}") from None


def _depth(first: Any) -> int:
    if isinstance(first, np.ndarray) or hasattr(first, "shape"):
        return len(first.shape)
    return 1 + _depth(first[0]) if isinstance(first, Sequence) and not isinstance(first, str) and len(first) else 0
