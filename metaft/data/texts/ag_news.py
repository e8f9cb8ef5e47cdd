"""Topics of news (Zhang, Zhao & LeCun 2015, "Character-level convolutional networks"), the descriptions alone.

7,600 for the test, and 10,001 of the original 120,000 for training.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from metaft.data.splits import check_split
from metaft.data.text import decoded
from metaft.data.texts.division import as_divided
from metaft.data.texts.labelled_texts import LabelledTexts, Text
from metaft.data.texts.reading import content, place_of, tab_rows
from metaft.errors import MetaftError, nearest

CLASSES = ("World", "Sports", "Business", "Sci/Tech")
"""In the order of the numbers 1 to 4."""


def load(split: str, *, root: str | Path | None = None) -> LabelledTexts:
    """Load the texts of one split; all have the same classes.

    Args:
        split: "train", "val" (a fifth of what is for training) or "test".
        root: where files are looked for first.

    Returns:
        The texts.

    Raises:
        MetaftError: for an unknown split, or if the files are absent or damaged.
    """
    check_split(split)
    base = place_of("ag-news", root)
    train, test = base / "ag_news/train_10k.tsv", base / "ag_news/test.csv"
    own: dict[str, list[Text]] = {name: [] for name in CLASSES}
    for text, name in tab_rows(train, 2):
        if name not in own:
            raise MetaftError(f"{train} has a class {name[:20]!r}{nearest(name, CLASSES)}")
        own[name].append(text)
    return as_divided(split, LabelledTexts.of(own), _test(test))


def _test(path: Path) -> LabelledTexts:
    found: dict[str, list[Text]] = {name: [] for name in CLASSES}
    reader = csv.reader(io.StringIO(decoded(content(path), path, "a CSV table"), newline=""))
    next(reader, None)
    for row in reader:
        if len(row) != 3 or row[0] not in ("1", "2", "3", "4"):
            raise MetaftError(f"{path}, line {reader.line_num}: expected label 1 to 4, title, text; fetch it again")
        found[CLASSES[int(row[0]) - 1]].append(row[2].strip())
    return LabelledTexts.of(found)
