"""Sentiment of sentences about products (Hu & Liu 2004, "Mining and summarizing customer reviews"), CC BY 4.0."""

from __future__ import annotations

from pathlib import Path

from metaft.data.splits import check_split
from metaft.data.texts.division import by_examples
from metaft.data.texts.labelled_texts import LabelledTexts
from metaft.data.texts.reading import place_of, text_lines

FILES = {"negative": "cr/custrev.neg", "positive": "cr/custrev.pos"}


def load(split: str, *, root: str | Path | None = None) -> LabelledTexts:
    """Load the sentences of one split; all have the same classes.

    Args:
        split: "train", "val" or "test".
        root: where files are looked for first.

    Returns:
        The sentences.

    Raises:
        MetaftError: for an unknown split, or if the files are absent or damaged.
    """
    check_split(split)
    base = place_of("cr", root)
    return by_examples(LabelledTexts.of({name: text_lines(base / file) for name, file in FILES.items()}), split)
