"""Which classes are for meta-training, validation and test: published lists, a user's lists, or by a seed."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from metaft.data.splits import SPLITS
from metaft.errors import MetaftError

SHARES = {"train": 0.64, "val": 0.16, "test": 0.20}
"""The proportions of miniImageNet."""

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


def from_files(folder: Path) -> ClassLists | None:
    """A user's own lists: ``train.txt``, ``val.txt`` and ``test.txt``, one class a line.

    Args:
        folder: where they lie.

    Returns:
        The lists, or None where there is none of the three files.

    Raises:
        MetaftError: if one of them is missing, unreadable or empty, or a class is in two places.
    """
    files = {split: folder / f"{split}.txt" for split in SPLITS}
    if not any(file.is_file() for file in files.values()):
        return None
    classes: ClassLists = {}
    for split, file in files.items():
        try:
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except OSError as error:
            raise MetaftError(
                f"cannot read {file}: {error.strerror}; lists are wanted for {', '.join(SPLITS)}, one class a line"
            ) from None
        except UnicodeDecodeError:
            raise MetaftError(f"{file} is not a text file in UTF-8; expected one class a line") from None
        classes[split] = tuple(line for line in lines if line and not line.startswith("#"))
        if not classes[split]:
            raise MetaftError(f"{file} names no class; expected one a line")
    require_disjoint(classes, str(folder))
    return classes


def by_seed(names: Sequence[str], seed: int, what: str = "classes") -> ClassLists:
    """Divide names at random, 64 : 16 : 20; the same on every platform and in whatever order they come.

    Args:
        names: of classes, or of the groups of a table.
        seed: which division.
        what: they are, for the message.

    Returns:
        The lists, each in alphabetical order and none of them empty.

    Raises:
        MetaftError: if there are fewer than three names.
    """
    if len(names) < len(SPLITS):
        raise MetaftError(f"{len(names)} {what} cannot be divided into {', '.join(SPLITS)}; at least 3 are needed")
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    held_out = {split: max(1, round(SHARES[split] * len(order))) for split in ("val", "test")}
    test = len(order) - held_out["test"]
    train = test - held_out["val"]
    parts = {"train": order[:train], "val": order[train:test], "test": order[test:]}
    return {split: tuple(sorted(part)) for split, part in parts.items()}


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
                    f"{where}: class {name!r} is {twice}; few-shot splits divide classes, not the images of a class"
                )
            seen[name] = split
