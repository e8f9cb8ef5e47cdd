"""Which classes are for meta-training, validation and test: published lists, a user's lists, or by a seed."""

from __future__ import annotations

import functools
import hashlib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from metaft.data.notes import counted, say
from metaft.data.split_names import splits_among, told, usual
from metaft.data.splits import SPLITS
from metaft.data.text import decoded, lines
from metaft.errors import MetaftError, nearest
from metaft.validate import require_count

SHARES = {"train": 0.64, "val": 0.16, "test": 0.20}
"""The proportions of miniImageNet."""

MOST_KNOWN = 100
"""Of more classes a message names none."""

ClassLists = dict[str, tuple[str, ...]]
"""Split → names of its classes."""


@dataclass(frozen=True)
class Published:
    """A published split of classes.

    Args:
        classes: split → names of its classes.
        images: class → how many images it has, where the list says so.
        digests: class → first 16 hexadecimal digits of the sha256 over its sorted file names, likewise.
    """

    classes: ClassLists
    images: dict[str, int]
    digests: dict[str, str]


@functools.cache
def published(name: str) -> Published:
    """A list that comes with the package.

    Args:
        name: "mini_imagenet" or "cifar_fs".

    Returns:
        The list.
    """
    text = resources.files("metaft.data").joinpath("lists", f"{name}.txt").read_text(encoding="utf-8")
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    classes = {split: tuple(row[1] for row in rows if row[0] == split) for split in SPLITS}
    images = {row[1]: int(row[2]) for row in rows if len(row) > 2}
    return Published(classes, images, {row[1]: row[3] for row in rows if len(row) > 3})


def list_files(folder: Path) -> dict[str, Path]:
    """A user's lists of classes: ``train.txt`` and so on, under the usual names of splits, in any case.

    Args:
        folder: where they lie.

    Returns:
        Split → its file, of those that are there.

    Raises:
        MetaftError: if two files are for the same split.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if name.lower().endswith(".txt") and name[0] != ".")
    except OSError:
        return {}
    files = {name[: -len(".txt")]: folder / name for name in names if (folder / name).is_file()}
    return {split: files[name] for split, name in splits_among(files, folder).items()}


def from_files(folder: Path, known: Sequence[str]) -> ClassLists | None:
    """A user's own lists: ``train.txt``, ``val.txt`` and ``test.txt`` (or other usual names), one class a line.

    Empty lines and lines that begin with ``#`` are passed over, a ``/`` behind a name does not matter.

    Args:
        folder: where they lie.
        known: the classes that there are.

    Returns:
        The lists, or None where there is none of the three files.

    Raises:
        MetaftError: if one of them is missing, unreadable or empty, names a class that there is not, or a class is in
            two places.
    """
    files = list_files(folder)
    if not files:
        return None
    # Names with accents are written in two ways, and file systems change one into the other.
    same = {unicodedata.normalize("NFC", name): name for name in known}
    classes: ClassLists = {}
    for split in SPLITS:
        if split not in files:
            there = " and ".join(file.name for file in files.values())
            raise MetaftError(
                f"cannot read {folder / f'{split}.txt'}: there is {there} but no list for {split} (or {usual(split)}); "
                f"lists are wanted for {', '.join(SPLITS)}, one class a line"
            )
        try:
            content = files[split].read_bytes()
        except OSError as error:
            raise MetaftError(f"cannot read {files[split]}: {error.strerror}; expected one class a line") from None
        listed = lines(decoded(content, files[split], "one class a line"))
        classes[split] = tuple(
            _class_of(line, same, files[split], number)
            for number, line in enumerate(listed, start=1)
            if line and (not line.startswith("#") or line in same)
        )
        if not classes[split]:
            raise MetaftError(f"{files[split]} names no class; expected one a line")
    if any(file.name != f"{split}.txt" for split, file in files.items()):
        say(f"{folder}: taken {told({split: file.name for split, file in files.items()})}")
    require_disjoint(classes, str(folder))
    if unlisted := [name for name in known if not any(name in names for names in classes.values())]:
        say(f"{folder}: {counted(len(unlisted), 'class folder')} in none of the lists, such as {unlisted[0]!r}")
    return classes


def _class_of(line: str, same: Mapping[str, str], file: Path, number: int) -> str:
    """The class that a line of a list names."""
    written = unicodedata.normalize("NFC", line)
    plain = written.removeprefix("./").rstrip("/\\").rstrip()
    # A remark behind the name, where no class is called so.
    for name in (written, plain, plain.split(" #")[0].split("\t#")[0].rstrip("/\\ \t")):
        if name in same:
            return same[name]
    raise MetaftError(
        f"{file.parent} has no folder for the listed class {plain!r} ({file.name}, line {number})"
        f"{nearest(plain, same) if len(same) <= MOST_KNOWN else ''}"
    )


@dataclass(frozen=True)
class Fold:
    """One of several divisions of the same classes, in which each class is for the test once.

    Args:
        folds: groups of classes.
        fold: the test's, from 0; the next one, cyclically, is the validation's, and the rest are for training.

    Raises:
        MetaftError: if there are fewer than three groups, or none of that number.
    """

    folds: int
    fold: int

    def __post_init__(self) -> None:
        require_count(self.folds, "folds", len(SPLITS))
        require_count(self.fold, "fold")
        if self.fold >= self.folds:
            raise MetaftError(f"fold = {self.fold}: with folds = {self.folds} the groups are 0 to {self.folds - 1}")

    @classmethod
    def of(cls, folds: int | None, fold: int) -> Fold | None:
        """None where no groups are asked for.

        Args:
            folds: as above, or None.
            fold: as above.

        Raises:
            MetaftError: if a group is asked for and not how many there are.
        """
        if folds is None and fold:
            raise MetaftError(f"fold = {fold}: say of how many groups, such as folds = 3")
        return None if folds is None else cls(folds, fold)

    def divided(self, order: Sequence[str]) -> ClassLists:
        """Names in their order, dealt out to the groups one by one.

        Args:
            order: at least as many as there are groups.
        """
        groups = [order[first :: self.folds] for first in range(self.folds)]
        held = self.fold, (self.fold + 1) % self.folds
        train = [name for place, group in enumerate(groups) if place not in held for name in group]
        return {
            split: tuple(sorted(part))
            for split, part in zip(SPLITS, (train, *(groups[i] for i in held[::-1])), strict=True)
        }


def by_seed(
    names: Sequence[str], seed: int, what: str = "classes", otherwise: str = "", fold: Fold | None = None
) -> ClassLists:
    """Divide names at random, 64 : 16 : 20; the same on every platform and in whatever order they come.

    Args:
        names: of classes, or of the groups of a table.
        seed: which division.
        what: they are, for the message.
        otherwise: what else can be done with fewer, for the message.
        fold: of groups of like size, in place of those shares.

    Returns:
        The lists, each in alphabetical order and none of them empty.

    Raises:
        MetaftError: if there are fewer than three names, or fewer than groups.
    """
    if fold is not None and len(names) < fold.folds:
        raise MetaftError(f"{len(names)} {what} cannot be divided into {fold.folds} groups; ask for fewer folds")
    if len(names) < len(SPLITS):
        raise MetaftError(
            f"{len(names)} {what} cannot be divided into {', '.join(SPLITS)}; at least 3 are needed"
            f"{otherwise and '; '}{otherwise}"
        )
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    if fold is not None:
        return fold.divided(order)
    train, val, _ = sizes(len(order))
    parts = {"train": order[:train], "val": order[train : train + val], "test": order[train + val :]}
    return {split: tuple(sorted(part)) for split, part in parts.items()}


def sizes(count: int) -> tuple[int, int, int]:
    """How many of so many classes are for training, validation and test, when a seed divides them.

    Args:
        count: of classes, at least 3.

    Returns:
        Their numbers, none 0.
    """
    val, test = (max(1, round(SHARES[split] * count)) for split in ("val", "test"))
    return count - val - test, val, test


def require_disjoint(classes: Mapping[str, Sequence[str]], where: str) -> None:
    """Refuse a class that is in two splits, or twice in one: its images would leak from training into the test.

    Args:
        classes: split → names.
        where: they come from, for the message.

    Raises:
        MetaftError: naming the class and both splits.
    """
    seen: dict[str, str] = {}
    for split, names in classes.items():
        for name in names:
            if name in seen:
                twice = f"twice in {split}" if seen[name] == split else f"in both {seen[name]} and {split}"
                raise MetaftError(
                    f"{where}: class {name!r} is {twice}; few-shot splits divide classes, not the examples of a class"
                )
            seen[name] = split
