"""Posts of 20 newsgroups (Lang 1995), long texts: without headers, quotes and signatures, their first 2,000 characters.

Scheme "topics" is the division of Bao et al. 2020, "Few-shot text classification with distributional signatures".
Repeats of a post within its group are left out.
"""

from __future__ import annotations

from pathlib import Path

from metaft.data.class_lists import by_seed
from metaft.data.splits import check_split
from metaft.data.texts.division import once
from metaft.data.texts.labelled_texts import LabelledTexts, Text
from metaft.data.texts.reading import json_lines, place_of, text_in
from metaft.data.texts.table import TEXTS
from metaft.errors import MetaftError, nearest

TRAIN, VAL = ("rec", "sci"), ("comp",)
"""The topics of training and validation; all others are for the test."""


def load(split: str, *, root: str | Path | None = None, scheme: str = "topics", split_seed: int = 0) -> LabelledTexts:
    """Load the posts of one split's groups.

    Args:
        split: "train", "val" or "test".
        root: where files are looked for first.
        scheme: which groups belong to which split: "topics", or "random" by a seed.
        split_seed: of the division, for scheme "random".

    Returns:
        The posts; the groups of the classes are their topics, "sci" for sci.space.

    Raises:
        MetaftError: for an unknown split or scheme, or if the files are absent or damaged.
    """
    check_split(split)
    row = TEXTS["newsgroups20"]
    if scheme not in row.schemes:
        raise MetaftError(f"unknown scheme {scheme!r} of newsgroups20{nearest(str(scheme), row.schemes)}")
    base = place_of(row.name, root)
    found: dict[str, list[Text]] = {}
    for file in row.files:
        for number, post in json_lines(base / file):
            name = text_in(post, "label", base / file, number)
            found.setdefault(name, []).append(text_in(post, "text", base / file, number))
    names = sorted(found)
    chosen = by_seed(names, split_seed)[split] if scheme == "random" else [n for n in names if _split(n) == split]
    return LabelledTexts.of(once({name: found[name] for name in chosen}), {name: _topic(name) for name in names})


def _topic(name: str) -> str:
    return name.partition(".")[0]


def _split(name: str) -> str:
    return "train" if _topic(name) in TRAIN else "val" if _topic(name) in VAL else "test"
