"""Data sets of texts as numbers of words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metaft.data import splits
from metaft.data.catalog import DatasetInfo
from metaft.data.texts import tokenizer
from metaft.data.texts.labelled_texts import LabelledTokens, Text, together
from metaft.errors import MetaftError, nearest

DEFAULT = "wordpiece"


def load(
    info: DatasetInfo,
    split: str,
    root: str | Path | None,
    asked: str | None,
    options: Mapping[str, object],
    most: int | None = None,
) -> tuple[LabelledTokens, str]:
    """Load one split of a data set of texts.

    Args:
        info: the data set.
        split: "train", "val" or "test"; or "all", the classes of all three.
        root: where files are looked for first.
        asked: the tokenizer, see `tokenizer.asked`; one trained on the training classes if None.
        options: of this data set, such as ``scheme``.
        most: how many words a text may have; None for any number.

    Returns:
        The texts, and the tokenizer's name.

    Raises:
        MetaftError: for an unknown split, option or tokenizer, and whatever the data set itself refuses.
    """
    splits.check_split(split, or_all=True)
    for option in options:
        if option not in info.options:
            raise MetaftError(f"unknown option {option!r} of data set {info.name}{nearest(option, info.options)}")
    assert info.texts is not None
    read = lambda part: info.texts(part, **({"root": root} if info.takes_root else {}), **options)
    undivided = split == splits.ALL and splits.ALL in info.splits
    texts = together([read(part) for part in info.splits]) if split == splits.ALL and not undivided else read(split)
    known: tuple[Text, ...] = ()
    if tokenizer.is_trained(asked or DEFAULT):
        known = (texts if undivided or split == "train" else read("train")).texts
    own = tokenizer.asked(asked or DEFAULT, known)
    return tokenizer.tokenised(texts, own, most), own.name
