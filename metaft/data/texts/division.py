"""The same classes in all splits: other examples of each, and none of those that are trained on in val or test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from metaft.data.class_lists import sizes
from metaft.data.draws import draws
from metaft.data.texts.labelled_texts import LabelledTexts, Text, parts_of

SEED = 0
"""Of the divisions of data sets that come undivided."""
VAL_OF_TRAIN = 0.2
"""The share of training examples that are for validation where a data set has none for it: 16 of 64 + 16."""
_PUNCTUATION = re.compile(r"[^\w\s]|_")


def plain(text: Text) -> tuple[str, ...]:
    """A text without case and punctuation, by which repeats are told."""
    return tuple(" ".join(_PUNCTUATION.sub("", part.lower()).split()) for part in parts_of(text))


def without(texts: LabelledTexts, others: Iterable[Text]) -> LabelledTexts:
    """Leave out the texts that stand among others too, but for case and punctuation.

    Args:
        texts: of which to leave some out; a class keeps its place even if it loses all.
        others: texts of another split.

    Returns:
        The rest.
    """
    gone = set(map(plain, others))
    kept = {name: [text for text in own if plain(text) not in gone] for name, own in texts.by_class().items()}
    return replace(texts, texts=tuple(t for own in kept.values() for t in own), counts=tuple(map(len, kept.values())))


def once(classes: Mapping[str, Iterable[Text]]) -> dict[str, list[Text]]:
    """Leave out the texts of a class that repeat one of it, but for case and punctuation.

    Args:
        classes: class → its texts.

    Returns:
        Class → the first of each.
    """
    found: dict[str, list[Text]] = {}
    for name, texts in classes.items():
        first: dict[tuple[str, ...], Text] = {}
        for text in texts:
            first.setdefault(plain(text), text)
        found[name] = list(first.values())
    return found


def by_examples(texts: LabelledTexts, split: str, seed: int = SEED) -> LabelledTexts:
    """Divide the examples of each class at random, 64 : 16 : 20.

    Args:
        texts: all of them.
        split: "train", "val" or "test".
        seed: which division.

    Returns:
        That part; without what stands in val or test too, where it is "train".
    """
    parts: dict[str, dict[str, list[Text]]] = {"train": {}, "val": {}, "test": {}}
    for name, own in texts.by_class().items():
        first, second, _ = sizes(len(own)) if len(own) > 2 else (len(own), 0, 0)
        order = _order(len(own), name, seed)
        cut = {"train": order[:first], "val": order[first : first + second], "test": order[first + second :]}
        for part, rows in cut.items():
            parts[part][name] = [own[row] for row in sorted(rows)]
    train, val, test = (LabelledTexts.of(part) for part in parts.values())
    return as_divided(split, train, test, val)


def as_divided(
    split: str, train: LabelledTexts, test: LabelledTexts, val: LabelledTexts | None = None, seed: int = SEED
) -> LabelledTexts:
    """One split of a data set that comes divided.

    Args:
        split: "train", "val" or "test".
        train: all that is for training; the same classes, in whatever order, as the others'.
        test: what is for testing.
        val: what is for validation; None to take a fifth of each class out of ``train``.
        seed: which fifth.

    Returns:
        That split; without what stands in val or test too, where it is "train". Classes are in the order of their
        names.
    """
    if split == "test":
        return _shared(test)
    if val is None:
        apart: dict[str, tuple[list[Text], list[Text]]] = {}
        for name, own in without(train, test.texts).by_class().items():
            most = round(VAL_OF_TRAIN * len(own))
            order = _order(len(own), name, seed)
            apart[name] = ([own[row] for row in sorted(order[most:])], [own[row] for row in sorted(order[:most])])
        train, val = (LabelledTexts.of({name: both[i] for name, both in apart.items()}) for i in (0, 1))
    return _shared(val if split == "val" else without(train, (*val.texts, *test.texts)))


def _shared(texts: LabelledTexts) -> LabelledTexts:
    return replace(texts.select(sorted(texts.names)), shared=True)


def _order(count: int, name: str, seed: int) -> list[int]:
    """Places below a count in random order; pure in (seed, name, count)."""
    keys = draws(seed, f"examples of {name}").random(count)
    return [int(place) for place in np.argsort(keys, kind="stable")]
