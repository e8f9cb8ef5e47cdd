"""Which folder of a user's data set is which class, and to which split it belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metaft.data.class_lists import ClassLists, Fold, by_seed, from_files, list_files, require_disjoint
from metaft.data.folder_files import IMAGES, FileKind, files_below, files_in, subfolders
from metaft.data.notes import counted, say
from metaft.data.split_names import split_of, splits_among, told, usual
from metaft.data.splits import SPLITS
from metaft.errors import MetaftError
from metaft.validate import require_count

WAY_OUT = "learners that train nothing can be compared on all classes together: metaft compare … --split all"
SHOWN = 5
"""Classes of a split that are told."""


@dataclass(frozen=True)
class Layout:
    """The classes of a folder.

    Args:
        folders: split → class → its folder.
        divided: how the classes were divided, in words.
        by_seed: whether a seed divided them.
        shared: whether all splits have the same classes, in other folders; "val" may then be absent.
    """

    folders: dict[str, dict[str, Path]]
    divided: str
    by_seed: bool = False
    shared: bool = False


def layout(
    base: Path,
    seed: int,
    least: int | None = None,
    kind: FileKind = IMAGES,
    may_share: bool = False,
    fold: Fold | None = None,
) -> Layout:
    """Find the class folders of all splits.

    Args:
        base: the folder of class folders.
        seed: of the random division, where nothing else says which class belongs where.
        least: classes of fewer files are left out before anything is divided; None keeps all.
        kind: what the class folders hold.
        may_share: whether all splits may have the same classes.
        fold: which groups of the classes are for what, if the seed is to divide them into groups.

    Returns:
        The classes and how they are divided.

    Raises:
        MetaftError: if the folder cannot be read, splits are incomplete or share a class, a listed class is absent, or
            too few classes are left.
    """
    found = subfolders(base)
    named = _splits(base, found, kind, may_share)
    if fold is not None and (named or list_files(base)):
        raise MetaftError(
            f"folds = {fold.folds}: {base} says itself, by folders or lists of {', '.join(SPLITS)}, which class is for "
            "what; leave folds out, or put all class folders side by side without lists"
        )
    if named:
        return _inside(base, found, named, least, kind, may_share)
    known = _large_enough(_class_folders(base, found, kind), least, kind)
    lists = from_files(base, list(found))
    if lists is None:
        _say_unread(base)
        lists = by_seed(list(known), seed, f"class folders in {base}", WAY_OUT, fold)
        _say_divided(base, lists, _by(seed, fold))
        folders = {split: {name: known[name] for name in names} for split, names in lists.items()}
        return Layout(folders, _by(seed, fold), True)
    folders = {split: {name: known[name] for name in names if name in known} for split, names in lists.items()}
    files = ", ".join(file.name for file in list_files(base).values())
    return Layout(_none_empty(base, folders, kind), f"as {files} say")


def all_classes(base: Path, least: int | None = None, kind: FileKind = IMAGES) -> dict[str, Path]:
    """All class folders, whatever split they belong to.

    Args:
        base: the folder of class folders.
        least: classes of fewer files are left out; None keeps all.
        kind: what the class folders hold.

    Returns:
        Class → its folder.

    Raises:
        MetaftError: as :func:`layout`.
    """
    found = subfolders(base)
    if _splits(base, found, kind) or list_files(base):
        parts = layout(base, 0, least, kind).folders
        return {name: folder for split in SPLITS for name, folder in parts[split].items()}
    return _large_enough(_class_folders(base, found, kind), least, kind)


def _by(seed: int, fold: Fold | None) -> str:
    share = "64 : 16 : 20" if fold is None else f"group {fold.fold} of {fold.folds} for test"
    return f"at random, {share}, by split_seed = {seed}"


def _say_divided(base: Path, lists: ClassLists, how: str) -> None:
    told = [
        f"{split}: {', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}" for split, names in lists.items()
    ]
    say(f"{base}: {sum(map(len, lists.values()))} classes divided {how}; {'; '.join(told)}")


def _splits(base: Path, found: dict[str, Path], kind: FileKind, may_share: bool = False) -> dict[str, str]:
    """Split → its folder's name; empty where the folders are classes."""
    named = splits_among(found, base)
    if not named:
        return {}
    if len(named) == 1:
        (name,) = named.values()
        if _files(found[name], kind):
            say(f"{base}: the folder {name!r} has {kind.noun}s in it, so it is taken for a class, not for a split")
            return {}
    _require_all(base, named, may_share)
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


def _require_all(base: Path, named: dict[str, str], but_val: bool = False) -> None:
    for split in SPLITS:
        if split not in named and not (but_val and split == "val"):
            there = " and ".join(repr(name) for name in named.values())
            raise MetaftError(
                f"{base} has a folder {there} but no {split!r} (or {usual(split)}), with other classes inside; "
                "move some of the class folders there, or put all class folders side by side to have them divided by a "
                "seed"
            )


def _inside(
    base: Path, found: dict[str, Path], named: dict[str, str], least: int | None, kind: FileKind, may_share: bool
) -> Layout:
    inside = {split: subfolders(found[name]) for split, name in named.items()}
    for split, classes in inside.items():
        if not classes:
            raise MetaftError(f"{found[named[split]]} has no class folders")
        _say_loose(found[named[split]], kind)
    divided = f"as its folders {', '.join(named.values())} say"
    if may_share and len({tuple(classes) for classes in inside.values()}) == 1:
        return Layout(inside, divided, shared=True)
    _require_all(base, named)
    require_disjoint({split: list(classes) for split, classes in inside.items()}, str(base))
    large = {split: _large_enough(classes, least, kind) for split, classes in inside.items()}
    return Layout(_none_empty(base, large, kind), divided)


def _none_empty(base: Path, folders: dict[str, dict[str, Path]], kind: FileKind) -> dict[str, dict[str, Path]]:
    for split, classes in folders.items():
        if not classes:
            raise MetaftError(f"{base}: no class of {split} has enough {kind.noun}s; choose a smaller min_examples")
    return folders


def _class_folders(base: Path, found: dict[str, Path], kind: FileKind) -> dict[str, Path]:
    if not found:
        raise MetaftError(f"{base} has no class folders; expected one folder a class, with its {kind.noun}s inside")
    if len(found) == 1:
        (inner,) = found.values()
        if not _files(inner, kind) and len(subfolders(inner)) > 1:
            raise MetaftError(f"{base} has but one folder, {inner.name!r}, with others inside; did you mean {inner}?")
    _say_loose(base, kind)
    return found


def _large_enough(folders: dict[str, Path], least: int | None, kind: FileKind) -> dict[str, Path]:
    if least is None:
        return folders
    require_count(least, "min_examples", 1)
    counts = {name: len(files_below(folder, kind)[0]) for name, folder in folders.items()}
    kept = [name for name, count in counts.items() if count >= least]
    say_left_out(counts, least, f"{kind.noun}s")
    return {name: folders[name] for name in kept}


def say_left_out(counts: Mapping[str, int], least: int, nouns: str, where: str = "") -> None:
    """Say which classes are left out, if any.

    Args:
        counts: class → its examples, of all classes.
        least: how many a class needs.
        nouns: what examples are called.
        where: of which data set, to begin with.
    """
    small = {name: count for name, count in counts.items() if count < least}
    if small:
        listed = ", ".join(f"{name} ({count})" for name, count in list(small.items())[:5])
        more = ", …" if len(small) > 5 else ""
        say(
            f"{where}{counted(len(small), 'class', 'classes')} of {len(counts)} left out, having fewer than {least} "
            f"{nouns}: {listed}{more}"
        )


def _say_unread(base: Path) -> None:
    """Lists in another form than ours, beside classes that a seed divides."""
    names = [name for name in files_in(base) if Path(name).suffix.lower() in (".csv", ".json", ".lst", ".tsv")]
    if lists := [name for name in names if split_of(Path(name).stem)]:
        say(f"{base}: {', '.join(lists)} not read; lists of classes are files train.txt, val.txt, test.txt, one a line")


def _files(folder: Path, kind: FileKind) -> list[str]:
    """The names of the files of a kind that lie in a folder itself."""
    return [name for name in files_in(folder) if kind.wanted(name)]


def _say_loose(folder: Path, kind: FileKind) -> None:
    lists = [name for name in _files(folder, kind) if name.lower().endswith(".txt") and split_of(Path(name).stem)]
    if loose := [name for name in _files(folder, kind) if name not in lists]:
        say(
            f"{folder}: {counted(len(loose), kind.noun)} beside the class folders, in none of them, passed over, such "
            f"as {loose[0]}"
        )
