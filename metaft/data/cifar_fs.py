"""CIFAR-FS: the 100 classes of CIFAR-100 as a few-shot benchmark (Bertinetto et al. 2019)."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from metaft.data import cache, image_folder, locate
from metaft.data.class_lists import published
from metaft.data.decode import check_size, scaled
from metaft.data.folder_files import split_folders
from metaft.data.image_folder import ClassFiles
from metaft.data.images import LabelledImages
from metaft.data.splits import check_split
from metaft.data.text import decoded
from metaft.errors import MetaftError

FOLDERS = ("cifar-fs", "cifar_fs", "CIFAR-FS", "cifar100", "cifar-100", "")
INSIDE = ("cifar100/data", "data", "")
LIST = "cifar_fs"
BINARY = "cifar-100-binary"
# A record of the binary version: coarse label, fine label, 32×32 pixels of red, of green, of blue.
SIDE, RECORD = 32, 2 + 3 * 32 * 32
MAX_RECORDS = 50_000
MEMBERS = ("train.bin", "test.bin", "fine_label_names.txt")


def load(split: str, *, root: str | Path | None = None, size: int = 32) -> LabelledImages:
    """Load one split: 64 classes for training, 16 for validation, 20 for the test, 600 images each.

    In each root itself and its folder ``cifar-fs`` (or ``cifar100``, …) it is looked for as its authors distribute it,
    one folder of PNG files a class (``cifar100/data/apple``), or as the binary version of CIFAR-100:
    ``cifar-100-binary.tar.gz``, or the folder unpacked from it. The Python version is a pickle, which runs code when
    it is read, and is left alone.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        root: searched before ``$METAFT_DATA`` and ``./data``.
        size: side the images are scaled to, in pixels; published results have 32.

    Returns:
        ``uint8 [examples, 3, size, size]``.

    Raises:
        MetaftError: if the images are absent, incomplete or damaged.

    Bertinetto, Henriques, Torr, Vedaldi: Meta-learning with differentiable closed-form solvers, ICLR 2019.
    """
    check_split(split)
    check_size(size)
    found = locate.find("cifar-fs", root, lambda folder: _below(folder, split))
    if found is None:
        looked = ", ".join(map(str, locate.roots(root)))
        raise MetaftError(
            f"CIFAR-FS was not found under {looked}: take the binary version of CIFAR-100 from Alex Krizhevsky's page "
            f"(cs.toronto.edu/~kriz/cifar.html) and put {BINARY}.tar.gz into {locate.roots(root)[0] / 'cifar-fs'}; "
            "the Python version is not read, as it is a pickle"
        )
    if found.archive is None:
        return image_folder.read("cifar-fs", found.files, size)
    archive = found.archive
    key = f"cifar-fs-{split}-{size}-{_fingerprint(archive)}"
    return cache.cached_images(key, lambda: _binary(archive, split, size))


def where(root: str | Path | None = None) -> str | None:
    """Find CIFAR-FS without reading it.

    Args:
        root: searched before ``$METAFT_DATA`` and ``./data``.

    Returns:
        The folder or archive, or ``None``.
    """
    try:
        found = locate.find("cifar-fs", root, lambda folder: _below(folder, "test"))
    except MetaftError as error:
        return f"incomplete: {error.message}"
    if found is None:
        return None
    return str(found.archive or next(iter(found.files.values()))[0].parent.parent)


class _Found(NamedTuple):
    """Either the files of each class, or the binary version's archive or folder."""

    files: ClassFiles
    archive: Path | None = None


def _below(root: Path, split: str) -> _Found | None:
    for folder in FOLDERS:
        base = root / folder
        places = (place for inner in INSIDE for place in (base / inner, *split_folders(base / inner, split)))
        found = image_folder.find_classes(places, published(LIST).classes[split], "CIFAR-FS")
        if found:
            return _Found(found)
        for binary in (base / f"{BINARY}.tar.gz", base / BINARY):
            if os.path.exists(binary):
                return _Found({}, binary)
    return None


def _binary(path: Path, split: str, size: int) -> LabelledImages:
    """The classes of one split out of CIFAR-100's binary version; its own division of images plays no role."""
    parts = dict(_members(path))
    missing = [name for name in MEMBERS if name not in parts]
    if missing:
        raise MetaftError(f"{path}: {missing[0]} is missing; fetch it again")
    names = decoded(parts["fine_label_names.txt"], f"{path}: fine_label_names.txt", "one class a line").split()
    if sorted(names) != sorted(name for split in published(LIST).classes.values() for name in split):
        raise MetaftError(f"{path}: fine_label_names.txt does not hold the 100 classes of CIFAR-100; fetch it again")
    records = np.concatenate([_records(path, name, parts[name]) for name in ("train.bin", "test.bin")])
    label = records[:, 1]
    if len(records) == 0 or int(label.max()) >= len(names):
        raise MetaftError(f"{path}: a record has no class of CIFAR-100; fetch it again")
    wanted = published(LIST).classes[split]
    rows = [np.flatnonzero(label == names.index(name)) for name in wanted]
    for name, found in zip(wanted, rows, strict=True):
        if len(found) == 0:
            raise MetaftError(f"{path} holds no image of class {name!r}; fetch it again")
    pixels = torch.from_numpy(records[np.concatenate(rows), 2:].reshape(-1, 3, SIDE, SIDE))
    return LabelledImages(scaled(pixels, size), torch.tensor([len(found) for found in rows]), wanted)


def _records(path: Path, name: str, content: bytes) -> NDArray[np.uint8]:
    if len(content) % RECORD:
        raise MetaftError(f"{path}: {name} has {len(content)} bytes, not a multiple of {RECORD}; fetch it again")
    return np.frombuffer(content, np.uint8).reshape(-1, RECORD)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """The three files of the archive or folder; none is unpacked to disk, and none read beyond its proper size."""
    most = MAX_RECORDS * RECORD
    try:
        if path.is_dir():
            for name in MEMBERS:
                if (path / name).is_file():
                    yield name, _bounded(path, name, (path / name).stat().st_size, (path / name).read_bytes)
            return
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if member.size > most:
                    raise MetaftError(f"{path}: {name} is larger than CIFAR-100's {most} bytes; fetch it again")
                content = archive.extractfile(member) if name in MEMBERS and member.isfile() else None
                if content is not None:
                    yield name, _bounded(path, name, member.size, content.read)
    except MetaftError:
        raise
    except Exception as error:  # tarfile, gzip and zlib raise many types on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MetaftError(f"{path} cannot be read ({reason}); fetch it again") from error


def _bounded(path: Path, name: str, size: int, read: Callable[[], bytes]) -> bytes:
    if size > MAX_RECORDS * RECORD:
        raise MetaftError(f"{path}: {name} is larger than CIFAR-100's {MAX_RECORDS * RECORD} bytes; fetch it again")
    return read()


def _fingerprint(path: Path) -> str:
    files = [path / name for name in MEMBERS if (path / name).is_file()] if path.is_dir() else [path]
    return "-".join(f"{file.stat().st_size:x}-{file.stat().st_mtime_ns:x}" for file in files)
