"""Texts as a learner takes them: in the words of its own tokenizer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.data.texts.labelled_texts import PADDING, LabelledTokens, Text, parts_of
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.estimator.inputs import listed
from metaft.prompting.pattern import Pattern


@dataclass(frozen=True)
class TextInputs:
    """Texts, or pairs of texts, as ``int64 [texts, places]``.

    Args:
        tokenizer: gives the numbers of words.
        most: how many words a text may have; what is longer is cut, and it is said how many those are. None for any.
        pattern: how texts are written, up to where the answer begins; as they are if None.
    """

    tokenizer: Tokenizer
    most: int | None = None
    pattern: Pattern | None = None
    kind = "texts"

    def read(self, given: Any) -> Tensor:
        """As `Inputs`.

        Args:
            given: a list, array or series of texts, or of pairs ``(first, second)``.

        Returns:
            ``int64 [texts, places]``, padded to as many places as the longest needs, or a few more.

        Raises:
            MetaftError: naming the first that is no text, or empty.
        """
        texts: list[Text] = require_texts(given)
        if self.pattern is not None:
            texts = [self.pattern.asked(text).rstrip() for text in texts]
        ids, offsets = self.tokenizer.encode(texts, self.most)
        words = self.tokenizer.vocabulary, self.tokenizer.digest
        packed = LabelledTokens(ids, offsets, torch.tensor([len(texts)]), ("all",), *words, most=self.most)
        return packed.take(torch.arange(len(texts)))

    def describe(self) -> dict[str, Any]:
        """Its settings; what the words are stands in a file of its own."""
        told = {"kind": self.kind, "tokenizer": self.tokenizer.name, "most": self.most}
        return told | ({} if self.pattern is None else {"pattern": dataclasses.asdict(self.pattern)})


def require_texts(given: Any) -> list[Text]:
    """Texts, or pairs of texts, all of which say something.

    Args:
        given: a list, array or series.

    Returns:
        A list.

    Raises:
        MetaftError: naming the first that is no text, or empty.
    """
    texts: list[Text] = listed(given)
    for number, text in enumerate(texts):
        if not isinstance(text, str) and not (isinstance(text, tuple) and all(isinstance(p, str) for p in text)):
            raise MetaftError(f"example {number} is {type(text).__name__}, not a text")
        if not all(part.strip() for part in parts_of(text)):
            raise MetaftError(f"text {number} is empty; remove it")
    return texts


def of_one_length(*texts: Tensor) -> tuple[Tensor, ...]:
    """Texts with padding, so that all have as many places as the longest.

    Args:
        texts: ``int64 [texts, places]`` each.

    Returns:
        The same, of one number of places.
    """
    most = max(one.shape[-1] for one in texts)
    return tuple(F.pad(one, (0, most - one.shape[-1]), value=PADDING) for one in texts)
