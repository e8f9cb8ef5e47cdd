"""Sentiment of sentences about films (Socher et al. 2013, "Recursive deep models …"), the two clear classes: SST-2.

As whole sentences, or as GLUE has it: phrases cut out of them for training, whole sentences for the test. GLUE's test
labels are not public; its ``dev`` is the test here, as is usual.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from metaft.data.splits import check_split
from metaft.data.texts.division import as_divided
from metaft.data.texts.labelled_texts import LabelledTexts, Text
from metaft.data.texts.reading import place_of, tab_rows
from metaft.errors import MetaftError, nearest

CLASSES = {"0": "negative", "1": "positive"}
FORMS = {"sentences": ".tsv", "phrases": ".tsv.gz"}


def load(
    split: str, *, root: str | Path | None = None, form: Literal["sentences", "phrases"] = "sentences"
) -> LabelledTexts:
    """Load the texts of one split; all have the same classes.

    Args:
        split: "train", "val" (the files' ``dev``) or "test".
        root: where files are looked for first.
        form: "sentences", or "phrases" to train on parts of them.

    Returns:
        The texts.

    Raises:
        MetaftError: for an unknown split or form, or if the files are absent or damaged.
    """
    check_split(split)
    if form not in FORMS:
        raise MetaftError(f"unknown form {form!r} of sst2{nearest(str(form), FORMS)}")
    folder = place_of("sst2", root) / "sst2" / form
    train, val, test = (_read(folder / f"{part}{FORMS[form]}", form) for part in ("train", "dev", "test"))
    return as_divided(split, train, test, val)


def _read(path: Path, form: str) -> LabelledTexts:
    found: dict[str, list[Text]] = {name: [] for name in CLASSES.values()}
    for text, label in tab_rows(path, 2, header=form == "phrases"):
        found[_class(label, path)].append(text)
    return LabelledTexts.of(found)


def _class(label: str, path: Path) -> str:
    if label not in CLASSES:
        raise MetaftError(f"{path} has a label {label[:20]!r}, expected 0 or 1; fetch it again")
    return CLASSES[label]
