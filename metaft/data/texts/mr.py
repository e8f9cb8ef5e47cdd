"""Sentiment of sentences about films (Pang & Lee 2005, "Seeing stars"): 5,331 of each kind, CC BY 4.0."""

from __future__ import annotations

from pathlib import Path

from metaft.data.splits import check_split
from metaft.data.texts.division import by_examples
from metaft.data.texts.labelled_texts import LabelledTexts
from metaft.data.texts.reading import lines_in_zip, place_of

FILES = {
    "negative": "sentence_polarity/rt-polarity.neg",
    "positive": "sentence_polarity/rt-polarity.pos",
}


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
    archive = place_of("mr", root) / "mr/sentence_polarity.zip"
    return by_examples(LabelledTexts.of({name: lines_in_zip(archive, file) for name, file in FILES.items()}), split)
