"""Texts as a learner takes them that writes prompts: the texts themselves, by the numbers of their characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from metaft.data.texts.labelled_texts import PADDING, Text, parts_of
from metaft.estimator.texts import require_texts
from metaft.tasks.batch import IGNORE

PARTS = "\x1f"
"""Stands between the two texts of a pair: Unicode's own sign for it, which no text has."""


@dataclass(frozen=True)
class WrittenTexts:
    """Texts, or pairs of texts, as ``int64 [texts, characters]``: nothing of them is lost.

    Args:
        pairs: whether they are pairs.
    """

    pairs: bool = False
    kind = "texts"

    def read(self, given: Any) -> Tensor:
        """As `Inputs`.

        Args:
            given: a list, array or series of texts, or of pairs ``(first, second)``.

        Returns:
            Unicode's numbers, padded with 0 to the longest, ``int64 [texts, characters]``.

        Raises:
            MetaftError: naming the first that is no text, or empty.
        """
        texts = require_texts(given)
        numbers = [torch.tensor([ord(sign) for sign in PARTS.join(parts_of(text))]) for text in texts]
        return pad_sequence(numbers, batch_first=True, padding_value=PADDING)

    def describe(self) -> dict[str, Any]:
        """Its settings."""
        return {"kind": "written texts", "pairs": self.pairs}


@dataclass(frozen=True)
class WrittenLookup:
    """From those numbers back to the texts, and the names of the classes (compare `TextLookup`).

    Args:
        names: of the classes, by label; empty while there are none.
        pairs: whether the texts are pairs.
    """

    names: Sequence[str]
    pairs: bool = False
    dataset = ""

    def texts(self, ids: Tensor) -> list[Text]:
        """The texts, ``int64 [texts, characters]`` → texts."""
        found: list[Text] = []
        for row in ids.tolist():
            first, parted, second = "".join(map(chr, filter(None, row))).partition(PARTS)
            found.append((first, second) if parted else first)
        return found

    def classes(self, ids: Tensor, labels: Tensor) -> list[str]:
        """What the labels are called, those that occur; ``ids`` say nothing more."""
        return [self.names[label] for label in sorted(set(labels.tolist()) - {IGNORE})]

    def called(self, name: str) -> str:
        """A class as it is written: as it is named."""
        return name
