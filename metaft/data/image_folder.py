"""Any folder of class folders: a data set of images of the user's own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from metaft.data import cache, decode
from metaft.data.class_lists import by_seed, from_files, require_disjoint
from metaft.data.images import LabelledImages
from metaft.data.splits import SPLITS
from metaft.errors import MetaftError

MAX_FILES = 5_000_000
ClassFiles = dict[str, list[Path]]
"""Class → its image files, in the order of their names."""


def load(
    split: str,
    *,
    root: str | Path | None = None,
    size: int = 84,
    rotations: bool = False,
    split_seed: int = 0,
) -> LabelledImages:
    """Load one split of a folder of class folders, from the cache where nothing has changed.

    Classes are divided into splits by, in this order: subfolders ``train``, ``val`` and ``test`` with the class folders
    inside; files ``train.txt``, ``val.txt`` and ``test.txt`` beside the class folders, one class a line; or at random
    by a seed, 64 : 16 : 20. The images of a class may lie in subfolders of its folder; hidden files do not count.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        root: the folder.
        size: side the images are scaled to, in pixels, 8 to 512; they are made square, whatever their proportions.
        rotations: add each class turned by 90, 180 and 270 degrees as classes of their own.
        split_seed: of the random division.

    Returns:
        ``uint8 [examples, 3, size, size]``, red, green and blue, 255 = full brightness.

    Raises:
        MetaftError: if there is no such folder, a class is in two splits or has no image, or an image is unreadable.
    """
    decode.check_size(size)
    if root is None:
        raise MetaftError("data set 'folder' needs the folder of class folders: give it as --data-root PATH")
    base = Path(os.path.expanduser(root))
    held = read("folder", files_of(class_folders(base, split_seed)[split]), size)
    return held.with_rotations() if rotations else held


def class_folders(base: Path, seed: int) -> dict[str, dict[str, Path]]:
    """Find the class folders of all splits.

    Args:
        base: the folder of class folders.
        seed: of the random division, where nothing else says which class belongs where.

    Returns:
        Split → class → its folder.

    Raises:
        MetaftError: if the folder cannot be read, splits are incomplete or share a class, or a listed class is absent.
    """
    found = subfolders(base)
    given = [split for split in SPLITS if split in found]
    if given:
        if len(given) < len(SPLITS):
            missing = next(split for split in SPLITS if split not in found)
            raise MetaftError(f"{base} has a folder {given[0]!r} but no {missing!r}, with other classes inside")
        inside = {split: subfolders(found[split]) for split in SPLITS}
        for split, classes in inside.items():
            if not classes:
                raise MetaftError(f"{base / split} has no class folders")
        require_disjoint({split: list(classes) for split, classes in inside.items()}, str(base))
        return inside
    if not found:
        raise MetaftError(f"{base} has no class folders; expected one folder a class, with its images inside")
    lists = from_files(base) or by_seed(list(found), seed, f"class folders in {base}")
    for names in lists.values():
        for name in names:
            if name not in found:
                raise MetaftError(f"{base} has no folder for the listed class {name!r}")
    return {split: {name: found[name] for name in names} for split, names in lists.items()}


def subfolders(folder: Path) -> dict[str, Path]:
    """The visible folders in a folder, by name, in alphabetical order.

    Raises:
        MetaftError: if it is not a folder that can be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError as error:
        raise MetaftError(f"cannot read the folder {folder}: {error.strerror}") from None
    return {name: folder / name for name in names}


def files_of(folders: Mapping[str, Path]) -> ClassFiles:
    """The image files of each class.

    Args:
        folders: class → its folder.

    Returns:
        Class → files, subfolders included.

    Raises:
        MetaftError: if a class has none, or there are absurdly many.
    """
    files: ClassFiles = {}
    for name, folder in folders.items():
        files[name] = sorted(_images_below(folder))
        if not files[name]:
            kinds = ", ".join(sorted(decode.SUFFIXES))
            raise MetaftError(f"class folder {folder} holds no image ({kinds})")
        if sum(map(len, files.values())) > MAX_FILES:
            raise MetaftError(f"{folder.parent} holds more than {MAX_FILES:,} images")
    return files


def read(dataset: str, files: ClassFiles, size: int) -> LabelledImages:
    """Decode the images of some classes, or take them from the cache.

    Args:
        dataset: its name, for the cache's file.
        files: class → files.
        size: side of the result in pixels.

    Returns:
        The images, classes in the order given.

    Raises:
        MetaftError: if a file cannot be read.
    """

    def build() -> LabelledImages:
        images = decode.decode([file for one in files.values() for file in one], size)
        return LabelledImages(images, torch.tensor([len(one) for one in files.values()]), tuple(files))

    return cache.cached_images(f"{dataset}-{size}-{_fingerprint(files)}", build)


def find_classes(places: Iterable[Path], names: Sequence[str], dataset: str) -> ClassFiles | None:
    """Look for known classes, each a folder of its own, in one of several places.

    Args:
        places: where the class folders may lie; the first that has any of them is taken.
        names: the classes.
        dataset: its name, for the message.

    Returns:
        Class → files; None if no place has any of the classes.

    Raises:
        MetaftError: if a place has some of the classes but not all, or one has no image.
    """
    for place in places:
        missing = [name for name in names if not os.path.isdir(place / name)]
        if len(missing) == len(names):
            continue
        if missing:
            raise MetaftError(
                f"{place} has no folder for class {missing[0]!r} of {dataset} "
                f"({len(missing)} of {len(names)} are missing); fetch it again"
            )
        return files_of({name: place / name for name in names})
    return None


def _images_below(folder: Path) -> list[Path]:
    found = []
    for place, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [
            Path(place, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in decode.SUFFIXES
        ]
    return found


def _fingerprint(files: ClassFiles) -> str:
    """Tell apart sources by class, path, size and time of change, file by file."""
    digest = hashlib.sha256()
    for name, paths in files.items():
        for path in paths:
            try:
                stat = os.stat(path)
            except OSError as error:
                raise MetaftError(f"cannot read {path}: {error.strerror}") from error
            digest.update(f"{name!r} {str(path.absolute())!r} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
