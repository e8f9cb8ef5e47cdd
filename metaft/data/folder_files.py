"""Looking into a user's folders: what is a class folder, what an image, and what was passed over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from metaft.data.decode import is_image
from metaft.data.notes import counted, say
from metaft.data.split_names import meanings
from metaft.errors import MetaftError

SYSTEMS_OWN = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini"),
        *("__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information"),
    }
)
"""What systems leave among a user's files unasked, in lower case."""


@dataclass(frozen=True)
class FileKind:
    """What class folders hold.

    Args:
        noun: what one is called in messages.
        wanted: takes the name of a file, tells whether it is one.
    """

    noun: str
    wanted: Callable[[str], bool]


IMAGES = FileKind("image", is_image)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden or a system's own, and passed over without a word."""
    return name.startswith(".") or name.lower() in SYSTEMS_OWN


def subfolders(folder: Path) -> dict[str, Path]:
    """The visible folders in a folder, by name, in alphabetical order.

    Raises:
        MetaftError: if it is not a folder that can be read.
    """
    return {name: folder / name for name, is_folder in _entries(folder) if is_folder}


def split_folders(folder: Path, split: str) -> list[Path]:
    """The folders in a folder that one split's classes may lie in: "test", "Test", "testing", …

    Args:
        folder: may be absent.
        split: "train", "val" or "test".

    Returns:
        Our own name first, whether or not it is there; then the usual ones that are.
    """
    try:
        found = subfolders(folder)
    except MetaftError:
        found = {}
    return list(dict.fromkeys([folder / split, *(found[name] for name in found if meanings(found).get(name) == split)]))


def files_in(folder: Path) -> list[str]:
    """The visible names of files that lie in a folder itself.

    Raises:
        MetaftError: as :func:`subfolders`.
    """
    return [name for name, is_folder in _entries(folder) if not is_folder]


def files_below(folder: Path, kind: FileKind) -> tuple[list[Path], list[Path]]:
    """The files of a kind in a folder and its subfolders, and the others.

    Args:
        folder: of a class, say.
        kind: which files.

    Returns:
        Both in alphabetical order, hidden files left out.

    Raises:
        MetaftError: if a folder cannot be read.
    """

    def stop(error: OSError) -> None:
        raise MetaftError(f"cannot read the folder {error.filename}: {error.strerror}") from None

    found: list[Path] = []
    others: list[Path] = []
    for place, inner, names in os.walk(folder, onerror=stop):
        inner[:] = [name for name in inner if not is_hidden(name)]
        for name in names:
            if not is_hidden(name):
                (found if kind.wanted(name) else others).append(Path(place, name))
    return sorted(found), sorted(others)


def say_passed_over(where: object, files: list[Path], kind: FileKind = IMAGES) -> None:
    """Count aloud the files that were not taken for what class folders hold.

    Args:
        where: they lie.
        files: which.
        kind: what they were not taken for.
    """
    if files:
        say(f"{where}: {counted(len(files), 'file')} passed over as no {kind.noun}: {kinds(files)}, such as {files[0]}")


def kinds(files: Iterable[Path]) -> str:
    """How many files there are of each ending: "5 .heic, 1 without an ending"."""
    found = Counter(file.suffix.lower() or "without an ending" for file in files)
    return ", ".join(f"{number:,} {kind}" for kind, number in found.most_common(4)) + (", …" if len(found) > 4 else "")


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """The visible names in a folder, and whether they are folders."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name, entry.is_dir()) for entry in entries if not is_hidden(entry.name))
    except OSError as error:
        raise MetaftError(f"cannot read the folder {folder}: {error.strerror}") from None
