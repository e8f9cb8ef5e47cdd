"""Which folder of a user's data set is which class, and to which split it belongs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metaft.data.class_lists import by_seed, from_files, list_files, require_disjoint
from metaft.data.folder_files import files_in, images_below, images_in, subfolders
from metaft.data.notes import counted, say
from metaft.data.split_names import split_of, splits_among, told, usual
from metaft.data.splits import SPLITS
from metaft.errors import MetaftError
from metaft.validate import require_count

WAY_OUT = "learners that train nothing can be compared on all classes together: metaft compare … --split all"


@dataclass(frozen=True)
class Layout:
    """The classes of a folder.

    Args:
        folders: split → class → its folder.
        divided: how the classes were divided, in words.
        by_seed: whether a seed divided them.
    """

    folders: dict[str, dict[str, Path]]
    divided: str
    by_seed: bool = False


def layout(base: Path, seed: int, least: int | None = None) -> Layout:
    """Find the class folders of all splits.

    Args:
        base: the folder of class folders.
        seed: of the random division, where nothing else says which class belongs where.
        least: classes of fewer images are left out before anything is divided; None keeps all.

    Returns:
        The classes and how they are divided.

    Raises:
        MetaftError: if the folder cannot be read, splits are incomplete or share a class, a listed class is absent, or
            too few classes are left.
    """
    found = subfolders(base)
    named = _splits(base, found)
    if named:
        return Layout(_inside(base, found, named, least), f"as its folders {', '.join(named.values())} say")
    known = _large_enough(_class_folders(base, found), least)
    lists = from_files(base, list(found))
    if lists is None:
        _say_unread(base)
        lists = by_seed(list(known), seed, f"class folders in {base}", WAY_OUT)
        return Layout({split: {name: known[name] for name in names} for split, names in lists.items()}, _by(seed), True)
    folders = {split: {name: known[name] for name in names if name in known} for split, names in lists.items()}
    files = ", ".join(file.name for file in list_files(base).values())
    return Layout(_none_empty(base, folders), f"as {files} say")


def all_classes(base: Path, least: int | None = None) -> dict[str, Path]:
    """All class folders, whatever split they belong to.

    Args:
        base: the folder of class folders.
        least: classes of fewer images are left out; None keeps all.

    Returns:
        Class → its folder.

    Raises:
        MetaftError: as :func:`layout`.
    """
    found = subfolders(base)
    if _splits(base, found) or list_files(base):
        parts = layout(base, 0, least).folders
        return {name: folder for split in SPLITS for name, folder in parts[split].items()}
    return _large_enough(_class_folders(base, found), least)


def _by(seed: int) -> str:
    return f"at random, 64 : 16 : 20, by split_seed = {seed}"


def _splits(base: Path, found: dict[str, Path]) -> dict[str, str]:
    """Split → its folder's name; empty where the folders are classes."""
    named = splits_among(found, base)
    if not named:
        return {}
    if len(named) == 1:
        (name,) = named.values()
        if images_in(found[name]):
            say(f"{base}: the folder {name!r} has images in it, so it is taken for a class, not for a split")
            return {}
    for split in SPLITS:
        if split not in named:
            there = " and ".join(repr(name) for name in named.values())
            raise MetaftError(
                f"{base} has a folder {there} but no {split!r} (or {usual(split)}), with other classes inside; "
                "move some of the class folders there, or put all class folders side by side to have them divided by a "
                "seed"
            )
    if any(split != name for split, name in named.items()):
        say(f"{base}: taken {told(named)}")
    if others := [name for name in found if name not in named.values()]:
        say(
            f"{base}: {counted(len(others), 'folder')} beside {', '.join(named.values())} passed over, such as "
            f"{others[0]!r}"
        )
    if lists := list_files(base):
        say(f"{base}: {', '.join(file.name for file in lists.values())} not used, as folders say what is for what")
    return named


def _inside(base: Path, found: dict[str, Path], named: dict[str, str], least: int | None) -> dict[str, dict[str, Path]]:
    inside = {split: subfolders(found[name]) for split, name in named.items()}
    for split, classes in inside.items():
        if not classes:
            raise MetaftError(f"{found[named[split]]} has no class folders")
        _say_loose(found[named[split]])
    require_disjoint({split: list(classes) for split, classes in inside.items()}, str(base))
    return _none_empty(base, {split: _large_enough(classes, least) for split, classes in inside.items()})


def _none_empty(base: Path, folders: dict[str, dict[str, Path]]) -> dict[str, dict[str, Path]]:
    for split, classes in folders.items():
        if not classes:
            raise MetaftError(f"{base}: no class of {split} has enough images; choose a smaller min_examples")
    return folders


def _class_folders(base: Path, found: dict[str, Path]) -> dict[str, Path]:
    if not found:
        raise MetaftError(f"{base} has no class folders; expected one folder a class, with its images inside")
    if len(found) == 1:
        (inner,) = found.values()
        if not images_in(inner) and len(subfolders(inner)) > 1:
            raise MetaftError(f"{base} has but one folder, {inner.name!r}, with others inside; did you mean {inner}?")
    _say_loose(base)
    return found


def _large_enough(folders: dict[str, Path], least: int | None) -> dict[str, Path]:
    if least is None:
        return folders
    require_count(least, "min_examples", 1)
    counts = {name: len(images_below(folder)[0]) for name, folder in folders.items()}
    small = {name: count for name, count in counts.items() if count < least}
    if small:
        listed = ", ".join(f"{name} ({count})" for name, count in list(small.items())[:5])
        more = ", …" if len(small) > 5 else ""
        say(
            f"{counted(len(small), 'class', 'classes')} of {len(folders)} left out, having fewer than {least} images: "
            f"{listed}{more}"
        )
    return {name: folder for name, folder in folders.items() if name not in small}


def _say_unread(base: Path) -> None:
    """Lists in another form than ours, beside classes that a seed divides."""
    names = [name for name in files_in(base) if Path(name).suffix.lower() in (".csv", ".json", ".lst", ".tsv")]
    if lists := [name for name in names if split_of(Path(name).stem)]:
        say(f"{base}: {', '.join(lists)} not read; lists of classes are files train.txt, val.txt, test.txt, one a line")


def _say_loose(folder: Path) -> None:
    if loose := images_in(folder):
        say(
            f"{folder}: {counted(len(loose), 'image')} beside the class folders, in none of them, passed over, such as "
            f"{loose[0]}"
        )
