"""The names that people give to training, validation and test, in any case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from metaft.data.splits import SPLITS
from metaft.errors import MetaftError

WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "development", "validate"),
    "test": ("test", "testing", "eval", "evaluation"),
}
UNDECIDED = WORDS["test"][2:]
"""The test set to some; the validation set to those who have another for testing."""
_AROUND = r"(?:meta)?({})(?:set|data|images|classes|split)?"


def split_of(name: str) -> str | None:
    """Which split a name means.

    Args:
        name: such as "Training", "meta_val" or "test set", in any case.

    Returns:
        "train", "val" or "test"; None if it is no usual name of one.
    """
    return next((split for split, words in WORDS.items() if _is_one_of(words, name)), None)


def meanings(names: Iterable[str]) -> dict[str, str]:
    """What names mean beside each other: where one is for testing and none for validation, "eval" is for validation.

    Args:
        names: of folders, or in a table's column.

    Returns:
        Name → split, of those that mean one.
    """
    meant = {name: split for name in names if (split := split_of(name))}
    undecided = {name for name, split in meant.items() if split == "test" and _is_one_of(UNDECIDED, name)}
    decided = {split for name, split in meant.items() if name not in undecided}
    if "test" in decided and "val" not in decided:
        meant |= dict.fromkeys(undecided, "val")
    return meant


def splits_among(names: Iterable[str], where: object) -> dict[str, str]:
    """Find the splits among some names.

    Args:
        names: of folders, say.
        where: they are, for the message.

    Returns:
        Split → the name that means it, in the order of training, validation and test.

    Raises:
        MetaftError: if two names mean the same split.
    """
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name, split in meanings(names).items():
        found[split].append(name)
    for split, said in found.items():
        if len(said) > 1:
            raise MetaftError(f"{where}: {said[0]!r} and {said[1]!r} both mean the {split} classes; keep one")
    return {split: said[0] for split, said in found.items() if said}


def told(meant: Mapping[str, str]) -> str:
    """Which names were taken for which splits, such as "'Train' for train, 'dev' for val"."""
    return ", ".join(f"{name!r} for {split}" for split, name in meant.items())


def usual(split: str) -> str:
    """Some usual names of a split, for messages."""
    return ", ".join(WORDS[split][:4])


def _is_one_of(words: Iterable[str], name: str) -> bool:
    return re.fullmatch(_AROUND.format("|".join(words)), re.sub(r"^\d+|[\s._-]+", "", name.lower())) is not None
