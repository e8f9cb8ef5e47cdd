"""miniImageNet: 100 classes of ImageNet, 600 images each (Vinyals et al. 2016), split as by Ravi & Larochelle."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from metaft.data import image_folder, locate
from metaft.data.class_lists import published
from metaft.data.decode import check_size, is_image
from metaft.data.folder_files import is_hidden, say_passed_over, split_folders
from metaft.data.image_folder import ClassFiles
from metaft.data.images import LabelledImages
from metaft.data.splits import check_split
from metaft.errors import MetaftError

log = logging.getLogger(__name__)
FOLDERS = ("miniimagenet", "mini-imagenet", "mini_imagenet", "miniImageNet", "MiniImagenet", "")
LIST = "mini_imagenet"


def load(split: str, *, root: str | Path | None = None, size: int = 84) -> LabelledImages:
    """Load one split: 64 classes for training, 16 for validation, 20 for the test.

    In each root itself and its folder ``miniimagenet`` (or ``mini-imagenet``, …) it is looked for in the layouts that
    are in use: one folder a class, named by its synset (``n01532829``), at once or below ``train``, ``val`` and
    ``test`` or ``images``; or all images in one folder (``images``), named as in the published lists, the synset in
    front.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        root: searched before ``$METAFT_DATA`` and ``./data``.
        size: side the images are scaled to, in pixels; published results have 84.

    Returns:
        ``uint8 [examples, 3, size, size]``; classes are named by synset.

    Raises:
        MetaftError: if the images are absent, incomplete or unreadable.

    Ravi, Larochelle: Optimization as a model for few-shot learning, ICLR 2017 (the split).
    """
    check_split(split)
    check_size(size)
    files = locate.find("mini-imagenet", root, lambda folder: _below(folder, split))
    if files is None:
        looked = ", ".join(map(str, locate.roots(root)))
        raise MetaftError(
            f"miniImageNet was not found under {looked}. ImageNet's licence forbids passing its images on, so "
            "nothing is downloaded: take ILSVRC 2012 from image-net.org and make miniImageNet of it with the tools of "
            "github.com/yaoyao-liu/mini-imagenet-tools (or use a copy you have), then put its images into "
            f"{locate.roots(root)[0] / 'miniimagenet' / 'images'} or into one folder a class beside it"
        )
    _compare(files)
    return image_folder.read("mini-imagenet", files, size)


def where(root: str | Path | None = None) -> str | None:
    """Find miniImageNet without reading it.

    Args:
        root: searched before ``$METAFT_DATA`` and ``./data``.

    Returns:
        The folder of the test split's images, or ``None``.
    """
    try:
        files = locate.find("mini-imagenet", root, lambda folder: _below(folder, "test"))
    except MetaftError as error:
        return f"incomplete: {error.message}"
    return None if files is None else str(next(iter(files.values()))[0].parent)


def _below(root: Path, split: str) -> ClassFiles | None:
    for folder in FOLDERS:
        base = root / folder
        places = (*split_folders(base, split), base, base / "images")
        found = image_folder.find_classes(places, published(LIST).classes[split], "miniImageNet")
        found = found or next(filter(None, (_flat(place, split) for place in places)), None)
        if found:
            return found
    return None


def _flat(folder: Path, split: str) -> ClassFiles | None:
    """All images in one folder, the class's synset being the first nine letters of a file's name."""
    files: ClassFiles = {name: [] for name in published(LIST).classes[split]}
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return None
    others: list[Path] = []
    for name in names:
        if name[:9] in files and not is_hidden(name):
            (files[name[:9]] if is_image(name) else others).append(folder / name)
    if not any(files.values()):
        return None
    say_passed_over(folder, [path for path in others if path.is_file()])
    for synset, found in files.items():
        if not found:
            raise MetaftError(f"{folder} holds no image of class {synset} of miniImageNet; fetch it again")
    return files


def _compare(files: ClassFiles) -> None:
    """Say where the images are not the published ones: scores could not be compared with anyone's."""
    for name, paths in files.items():
        expected = published(LIST).images[name]
        if len(paths) != expected:
            log.warning(
                "class %s has %d images, miniImageNet has %d: not the published set", name, len(paths), expected
            )
            return
        named_as_listed = all(path.name.startswith(name) and "_" not in path.name for path in paths)
        digest = hashlib.sha256("\n".join(sorted(path.name for path in paths)).encode()).hexdigest()
        if named_as_listed and not digest.startswith(published(LIST).digests[name]):
            log.warning("the images of class %s are not those of the published lists of miniImageNet", name)
            return
