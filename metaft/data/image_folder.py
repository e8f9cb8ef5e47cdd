"""Any folder of class folders: a data set of images of the user's own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from metaft.data import cache, decode
from metaft.data.blank import require_pictures
from metaft.data.class_lists import Fold
from metaft.data.folder_files import IMAGES, files_below, kinds, say_passed_over
from metaft.data.folder_layout import all_classes, layout
from metaft.data.images import LabelledImages
from metaft.data.picture import VERSION
from metaft.data.splits import ALL, Division
from metaft.errors import MetaftError

MAX_FILES = 5_000_000
SHOWN_SUFFIXES = (".png", ".jpg", ".tif", ".gif", ".webp", ".bmp")
ClassFiles = dict[str, list[Path]]
"""Class → its image files, in the order of their names."""


def load(
    split: str,
    *,
    root: str | Path | None = None,
    size: int = 84,
    rotations: bool = False,
    split_seed: int = 0,
    min_examples: int | None = None,
    folds: int | None = None,
    fold: int = 0,
) -> LabelledImages:
    """Load one split of a folder of class folders, from the cache where nothing has changed.

    Classes are divided into splits by, in this order: subfolders ``train``, ``val`` and ``test`` (or other usual names,
    in any case) with the class folders inside; files ``train.txt``, ``val.txt`` and ``test.txt`` (likewise) beside the
    class folders, one class a line; or at random by a seed, 64 : 16 : 20. The images of a class may lie in subfolders
    of its folder; hidden files do not count, other files that are no images are counted aloud.

    Args:
        split: ``"train"``, ``"val"``, ``"test"``, or ``"all"`` for all classes, undivided.
        root: the folder.
        size: side the images are scaled to, in pixels, 8 to 512; they are made square, whatever their proportions.
        rotations: add each class turned by 90, 180 and 270 degrees as classes of their own.
        split_seed: of the random division.
        min_examples: leave classes of fewer images out, before anything is divided; None for none.
        folds: divide the classes into so many groups by the seed, so that each is the test's once; None for 64 : 16 :
            20.
        fold: the group that is the test's, from 0; the next one is the validation's.

    Returns:
        ``uint8 [examples, 3, size, size]``, red, green and blue, 255 = full brightness.

    Raises:
        MetaftError: if there is no such folder, a class is in two splits or has no image, or an image is unreadable.
    """
    decode.check_size(size)
    if root is None:
        raise MetaftError("data set 'folder' needs the folder of class folders: give it as --data-root PATH")
    base = Path(os.path.expanduser(root))
    if split == ALL:
        folders = all_classes(base, min_examples)
    else:
        folders = layout(base, split_seed, min_examples, fold=Fold.of(folds, fold)).folders[split]
    held = read("folder", files_of(folders), size)
    return held.with_rotations() if rotations else held


def class_folders(base: Path, seed: int) -> dict[str, dict[str, Path]]:
    """The class folders of all splits: split → class → its folder (see :func:`metaft.data.folder_layout.layout`)."""
    return layout(base, seed).folders


def division(
    split: str,
    *,
    root: str | Path | None = None,
    split_seed: int = 0,
    min_examples: int | None = None,
    folds: int | None = None,
    fold: int = 0,
    **others: object,
) -> Division:
    """How many classes there are in each split, for messages.

    Args:
        split: the one asked for.
        root: the folder.
        split_seed: of the random division.
        min_examples: classes of fewer images are left out.
        folds: as for `load`.
        fold: as for `load`.
        others: options that change no division.

    Returns:
        Split → classes, and how they were divided.
    """
    base = Path(os.path.expanduser(str(root)))
    if split == ALL:
        return Division({ALL: len(all_classes(base, min_examples))}, "all together", by_seed=False)
    found = layout(base, split_seed, min_examples, fold=Fold.of(folds, fold))
    return Division({split: len(classes) for split, classes in found.folders.items()}, found.divided, found.by_seed)


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
    others: list[Path] = []
    for name, folder in folders.items():
        files[name], passed_over = files_below(folder, IMAGES)
        if not files[name]:
            instead = f"; it holds {kinds(passed_over)}" if passed_over else ""
            raise MetaftError(
                f"class folder {folder} holds no image ({', '.join(SHOWN_SUFFIXES)}, …){instead}; put images there, "
                "remove it, or leave such classes out (--min-examples 1)"
            )
        others += passed_over
        if sum(map(len, files.values())) > MAX_FILES:
            raise MetaftError(f"{folder.parent} holds more than {MAX_FILES:,} images")
    if folders:
        say_passed_over(folder.parent, others)
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
        MetaftError: if a file cannot be read, or nothing is to be seen on the images of a class.
    """

    paths, counts = [file for one in files.values() for file in one], [len(one) for one in files.values()]

    def build() -> LabelledImages:
        return LabelledImages(decode.decode(paths, size), torch.tensor(counts), tuple(files))

    held = cache.cached_images(f"{dataset}-{size}-decoded{VERSION}-{_fingerprint(files)}", build)
    require_pictures(held, paths)
    return held


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
