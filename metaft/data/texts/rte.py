"""Pairs of sentences: does the first entail the second? Recognising textual entailment, as in GLUE (Wang et al. 2019).

GLUE's test labels are not public; its ``dev`` is the test here, as is usual.
"""

from __future__ import annotations

from pathlib import Path

from metaft.data.splits import check_split
from metaft.data.texts.division import as_divided
from metaft.data.texts.labelled_texts import LabelledTexts, Text
from metaft.data.texts.reading import place_of, tab_rows
from metaft.errors import MetaftError, nearest

CLASSES = ("entailment", "not_entailment")


def load(split: str, *, root: str | Path | None = None) -> LabelledTexts:
    """Load the pairs of one split; all have the same classes.

    Args:
        split: "train", "val" (a fifth of what is for training) or "test".
        root: where files are looked for first.

    Returns:
        The pairs, premise and hypothesis.

    Raises:
        MetaftError: for an unknown split, or if the files are absent or damaged.
    """
    check_split(split)
    folder = place_of("rte", root) / "rte"
    return as_divided(split, _read(folder / "train.tsv"), _read(folder / "dev.tsv"))


def _read(path: Path) -> LabelledTexts:
    found: dict[str, list[Text]] = {name: [] for name in CLASSES}
    for _index, premise, hypothesis, label in tab_rows(path, 4, header=True):
        if label not in found:
            raise MetaftError(f"{path} has a class {label[:20]!r}{nearest(label, CLASSES)}")
        found[label].append((premise, hypothesis))
    return LabelledTexts.of(found)
