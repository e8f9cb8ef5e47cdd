"""How two marked words of a sentence are related (SemEval 2010 task 8, Hendrickx et al. 2010), CC BY 3.0.

Nine relations, each in two directions; "Other" is left out, and so is a direction of fewer than 20 sentences. Both
directions of a relation are in one split. The first place is between ``$`` signs and the second between ``#`` signs
(Wu & He 2019, "Enriching pre-trained language model with entity information", R-BERT), which stand nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from metaft.data.splits import check_split
from metaft.data.text import decoded, lines
from metaft.data.texts.division import once
from metaft.data.texts.labelled_texts import LabelledTexts, Text
from metaft.data.texts.reading import content, place_of
from metaft.data.texts.table import TEXTS
from metaft.errors import MetaftError

RELATIONS = {
    "train": ("Cause-Effect", "Component-Whole", "Entity-Destination"),
    "val": ("Content-Container", "Instrument-Agency", "Member-Collection"),
    "test": ("Entity-Origin", "Message-Topic", "Product-Producer"),
}
FEWEST = 20
SIGNS = {"e1": "$", "e2": "#"}
"""Around the first place and the second."""
WORDS = {"$": " dollars ", "#": " number "}
"""What stands for these signs where a sentence has them itself."""


def load(split: str, *, root: str | Path | None = None) -> LabelledTexts:
    """Load the sentences of one split's relations.

    Args:
        split: "train", "val" or "test".
        root: where files are looked for first.

    Returns:
        The sentences; a class is a relation and its direction, "Cause-Effect(e1,e2)", its group the relation.

    Raises:
        MetaftError: for an unknown split, or if the files are absent or damaged.
    """
    check_split(split)
    base = place_of("semeval-relations", root)
    found: dict[str, list[Text]] = {}
    for file in TEXTS["semeval-relations"].files:
        for text, name in _read(base / file):
            if _relation(name) in RELATIONS[split]:
                found.setdefault(name, []).append(text)
    kept = {name: own for name, own in sorted(once(found).items()) if len(own) >= FEWEST}
    return LabelledTexts.of(kept, {name: _relation(name) for name in kept})


def _read(path: Path) -> Iterator[tuple[str, str]]:
    """Marked sentences and their relations: three lines each, number and sentence, relation, comment."""
    rows = lines(decoded(content(path), path, "sentences and relations", "latin-1"))
    for place, line in enumerate(rows):
        if sentence := re.fullmatch(r'\d+\t"(.*)"', line):
            name = rows[place + 1] if place + 1 < len(rows) else ""
            if not re.fullmatch(r"Other|[\w-]+\(e[12],e[12]\)", name):
                raise MetaftError(f"{path}, line {place + 2}: expected a relation such as Cause-Effect(e1,e2)")
            yield marked(sentence[1]), name


def marked(sentence: str) -> str:
    """A sentence with signs around its two places.

    Args:
        sentence: with ``<e1>…</e1>`` and ``<e2>…</e2>``.

    Returns:
        The same with ``$ … $`` and ``# … #``; such signs of its own are words.
    """
    for sign, word in WORDS.items():
        sentence = sentence.replace(sign, word)
    return " ".join(re.sub(r"</?(e[12])>", lambda tag: f" {SIGNS[tag[1]]} ", sentence).split())


def _relation(name: str) -> str:
    return name.partition("(")[0]
