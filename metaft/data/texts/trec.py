"""What a question asks for (Li & Roth 2002, "Learning question classifiers"): 50 classes of 6 types.

By the fine classes tasks differ in classes, and those of types that are tested are not trained on. By the six types
all splits have the same classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from metaft.data.class_lists import by_seed
from metaft.data.folder_layout import say_left_out
from metaft.data.splits import SPLITS, check_split
from metaft.data.texts.division import as_divided, once
from metaft.data.texts.labelled_texts import LabelledTexts, Text
from metaft.data.texts.reading import lines_in_zip, place_of
from metaft.data.texts.table import TEXTS
from metaft.errors import MetaftError, nearest
from metaft.validate import require_count

TYPES = {"train": ("ABBR", "DESC", "ENTY"), "val": ("LOC",), "test": ("HUM", "NUM")}
LABELS = ("fine", "coarse")
FEWEST = 16
"""Questions that a class needs: one to learn from, 15 to be asked."""


def load(
    split: str,
    *,
    root: str | Path | None = None,
    labels: Literal["fine", "coarse"] = "fine",
    scheme: str = "types",
    split_seed: int = 0,
    min_examples: int | None = None,
) -> LabelledTexts:
    """Load the questions of one split.

    Args:
        split: "train", "val" or "test".
        root: where files are looked for first.
        labels: "fine", with new classes in each split; or "coarse", the six types in all of them.
        scheme: which fine classes belong to which split: "types", or "random" by a seed.
        split_seed: of the division, for scheme "random".
        min_examples: leave fine classes of fewer questions out, before anything is divided, and types of fewer in one
            of the splits; None for 16.

    Returns:
        The questions; the groups of fine classes are their types.

    Raises:
        MetaftError: for an unknown split, scheme or kind of labels, or if the files are absent or damaged.
    """
    check_split(split)
    schemes = TEXTS["trec"].schemes
    for what, given, known in (("kind of labels", labels, LABELS), ("scheme", scheme, schemes)):
        if given not in known:
            raise MetaftError(f"unknown {what} {given!r} of trec{nearest(str(given), known)}")
    fewest = FEWEST if min_examples is None else require_count(min_examples, "min_examples", 1)
    archive = place_of("trec", root) / "trec/qc.zip"
    train, test = (_read(archive, f"qc/{part}.txt") for part in ("train", "test"))
    if labels == "coarse":
        if scheme != schemes[0]:
            raise MetaftError(f"scheme = {scheme!r} is of fine classes; labels = coarse has the same in all splits")
        return _of_types(split, LabelledTexts.of(_types(train)), LabelledTexts.of(_types(test)), fewest)
    whole = once({name: [*own, *test.get(name, ())] for name, own in train.items()})
    return _of_fine(whole, split, scheme, split_seed, fewest)


def _of_types(split: str, train: LabelledTexts, test: LabelledTexts, min_examples: int) -> LabelledTexts:
    parts = [as_divided(part, train, test) for part in SPLITS]
    counts = {name: min(own) for name, *own in zip(parts[0].names, *(part.counts for part in parts), strict=True)}
    kept = [name for name, count in counts.items() if count >= min_examples]
    say_left_out(counts, min_examples, "questions in a split", "trec: ")
    if not kept:
        raise MetaftError(f"trec: no type has {min_examples} questions in each split; choose a smaller min_examples")
    return parts[SPLITS.index(split)].select(kept)


def _of_fine(
    classes: dict[str, list[Text]], split: str, scheme: str, split_seed: int, min_examples: int
) -> LabelledTexts:
    kept = {name: own for name, own in sorted(classes.items()) if len(own) >= min_examples}
    say_left_out({name: len(own) for name, own in sorted(classes.items())}, min_examples, "questions", "trec: ")
    names = by_seed(list(kept), split_seed)[split] if scheme == "random" else [n for n in kept if _in(n, split)]
    if not names:
        raise MetaftError(f"trec: no class of {split} has {min_examples} questions; choose a smaller min_examples")
    return LabelledTexts.of({name: kept[name] for name in names}, {name: _type(name) for name in names})


def _read(archive: Path, member: str) -> dict[str, list[Text]]:
    found: dict[str, list[Text]] = {}
    for line in lines_in_zip(archive, member, "latin-1"):
        name, _, question = line.partition(" ")
        if ":" not in name or not question.strip():
            raise MetaftError(f"{archive}: {member} has a line {line[:40]!r}, expected 'TYPE:class question'")
        found.setdefault(name, []).append(question.strip())
    return found


def _types(classes: dict[str, list[Text]]) -> dict[str, list[Text]]:
    found: dict[str, list[Text]] = {}
    for name, own in classes.items():
        found.setdefault(_type(name), []).extend(own)
    return found


def _type(name: str) -> str:
    return name.partition(":")[0]


def _in(name: str, split: str) -> bool:
    return _type(name) in TYPES[split]
