"""What can be counted of a text, for users who prefer texts by it."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from metaft.data.texts.labelled_texts import LabelledTokens, Text, parts_of

QUESTIONS = {
    "what", "what's", "when", "where", "which", "who", "who's", "whose", "why", "how",
    "is", "are", "do", "does", "did", "am", "was", "were",
}  # fmt: skip
SELF = {"i", "i'm", "i'd", "i've", "i'll", "me", "my", "mine", "we", "our", "us"}
POLITE = {"please", "can", "could", "would", "may", "kindly", "thanks"}
COUNTED = ("length", "long words", "question", "about oneself", "polite", "digits")


def counted(text: Text) -> tuple[float, ...]:
    """The traits of one text, in the order of `COUNTED`.

    Args:
        text: a text or a pair, which is read as one.

    Returns:
        The logarithm of the number of words, letters a word, and whether it is a question, speaks of its writer, is
        polite, and has digits.
    """
    said = " ".join(parts_of(text)).lower()
    words = re.findall(r"[\w']+", said) or [said]
    question = words[0] in QUESTIONS or "?" in said
    whether = (question, bool(SELF & set(words)), bool(POLITE & set(words)), any(map(str.isdigit, said)))
    return (math.log(len(words)), sum(map(len, words)) / len(words), *map(float, whether))


def traits(texts: LabelledTokens) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The traits of all texts of a split, each with mean 0 and deviation 1; one that all have alike is 0.

    Args:
        texts: with the texts themselves.

    Returns:
        ``[texts, traits]``, and what they are called. Where all splits have the same classes, such as positive and
        negative, a text's class is a trait too.
    """
    found, names = np.array([counted(text) for text in texts.texts]).reshape(len(texts.texts), -1), list(COUNTED)
    if texts.shared:
        labels, classes = texts.labels.numpy(), texts.names[:-1]
        found = np.concatenate([found, labels[:, None] == np.arange(len(classes))], axis=1)
        names += classes
    spread = found.std(0)
    return (found - found.mean(0)) / np.where(spread > 0, spread, 1), tuple(names)
