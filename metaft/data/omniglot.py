"""Omniglot: 1623 characters of 50 alphabets, 20 drawings each (Lake et al. 2015)."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from metaft.data import cache, locate, splits
from metaft.data.archive import SIDE, Files, check_size, open_files, shrink
from metaft.data.compat import torchvision_module
from metaft.data.images import LabelledImages
from metaft.errors import MetaftError

DRAWINGS = 20
# sha256 over every drawing's packed bits (1 = ink) in stored order, measured on the official PNG files.
DIGEST = "75a36f7ce605ee617d0c45021613841aec979e079f71594e885aba52a7c003ce"
FOLDERS = ("", "omniglot", "omniglot-py")


def load(
    split: str,
    *,
    root: str | Path | None = None,
    scheme: str = "alphabets",
    size: int = 28,
    rotations: bool = True,
) -> LabelledImages:
    """Load the characters of one split, from the checked cache where there is one.

    The archives or folders ``images_background`` and ``images_evaluation`` are looked for in each root itself
    and in its ``omniglot`` and ``omniglot-py``; what is nowhere is downloaded into the first root.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        root: searched before ``$METAFT_DATA`` and ``./data``.
        scheme: which characters belong to which split, see :data:`metaft.data.splits.SCHEMES`.
        size: side of the images in pixels, 8 to 105.
        rotations: add each character turned by 90, 180 and 270 degrees as classes of their own.

    Returns:
        ``uint8 [examples, 1, size, size]``, 255 = ink; classes named ``"Angelic/character01"``, with
        ``/rot090`` and so on behind where there are rotations.

    Raises:
        MetaftError: for an unknown split or scheme, and for data that is missing, damaged or not Omniglot's.

    Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program induction,
    Science 350 (2015). Rotations as classes: Santoro et al. 2016.
    """
    names = splits.classes(scheme, split)
    check_size(size)
    if not isinstance(rotations, bool):
        raise MetaftError(f"rotations must be true or false, not {rotations!r}")
    parts = where(root) or _download(root)
    held = _images(parts, _fingerprint(parts), size)
    index = {name: i for i, name in enumerate(held.names)}
    chosen = held.select([index[name] for name in names])
    return chosen.with_rotations() if rotations else chosen


def where(root: str | Path | None = None) -> tuple[Path, ...] | None:
    """Find Omniglot without reading or downloading it.

    Args:
        root: searched before ``$METAFT_DATA`` and ``./data``.

    Returns:
        The zip or folder of the background and of the evaluation part, or ``None``.
    """

    def holds(folder: Path) -> tuple[Path, ...] | None:
        found = [_find_part(folder, part) for part in splits.PARTS]
        return tuple(path for path in found if path) if all(found) else None

    return locate.find("omniglot", root, holds)


def decode(parts: tuple[Path, ...]) -> cache.Entry:
    """Decode and check every drawing.

    Args:
        parts: the zip or folder of the background and of the evaluation part.

    Returns:
        ``bits: uint8 [32460, 1379]``, each drawing's 105×105 pixels packed row by row, 1 = ink; the
        characters' names.

    Raises:
        MetaftError: naming the file that is missing, too many, unreadable or not Omniglot's.
    """
    rows = [_decode_part(part, path) for part, path in zip(splits.PARTS, parts, strict=True)]
    bits = np.concatenate(rows)
    found = hashlib.sha256(bits.data).hexdigest()
    if found != DIGEST:
        raise MetaftError(f"{parts[0].parent}: pixels with sha256 {found}, expected Omniglot's {DIGEST}")
    return cache.Entry({"bits": torch.from_numpy(bits)}, splits.characters())


def _find_part(root: Path, part: str) -> Path | None:
    for folder in FOLDERS:
        for name in (f"images_{part}.zip", f"images_{part}"):
            # Unlike Path.exists, no error where a folder may not be looked into.
            if os.path.exists(path := root / folder / name):
                return path
    return None


def _download(root: str | Path | None) -> tuple[Path, ...]:
    first = locate.roots(root)[0]
    folder = first / "omniglot"
    missing = [f"images_{part}" for part in splits.PARTS if _find_part(first, part) is None]
    try:
        official = torchvision_module("torchvision.datasets.omniglot").Omniglot
        md5s = {f"{name}.zip": official.zips_md5[name] for name in missing}
        locate.download(official.download_url_prefix, md5s, folder)
    except MetaftError as error:
        looked = ", ".join(map(str, locate.roots(root)))
        files = " and ".join(f"{name}.zip" for name in missing)
        raise MetaftError(
            f"Omniglot was not found under {looked} and not downloaded ({error}): "
            f"put {files} (or the folders unpacked from them) into {folder}"
        ) from error
    found = where(root)
    assert found is not None
    return found


# One process loads several splits of the same images.
@functools.lru_cache(maxsize=2)
def _images(parts: tuple[Path, ...], fingerprint: str, size: int) -> LabelledImages:
    checked = f"omniglot-source-{fingerprint}"
    fresh: list[cache.Entry] = []

    def packed() -> cache.Entry:
        if not fresh:
            fresh.append(decode(parts))
        return fresh[0]

    # A source that has changed since it was checked is checked again, even where the cache could do without.
    if not cache.noted(checked):
        packed()
        cache.note(checked)

    def build() -> LabelledImages:
        entry = cache.cached("omniglot-bits", packed)
        # In pieces: all drawings unpacked at once would take a third of a gigabyte.
        pieces = np.array_split(entry.tensors["bits"].numpy(), 32)
        images = torch.cat([shrink(_unpack(piece), size) for piece in pieces])
        return LabelledImages(images, torch.full((len(entry.names),), DRAWINGS), entry.names)

    return cache.cached_images(f"omniglot-{size}", build)


def _unpack(bits: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.unpackbits(bits, axis=1, count=SIDE * SIDE).reshape(-1, SIDE, SIDE).view(np.bool_)


def _fingerprint(parts: tuple[Path, ...]) -> str:
    """Tell apart sources by path, size and time of change, file by file."""
    digest = hashlib.sha256()
    for part in parts:
        files = [part] if part.is_file() else sorted(part.rglob("*.png"))
        for file in files:
            try:
                stat = os.stat(file)
            except OSError as error:
                raise MetaftError(f"cannot read {file}: {error.strerror}") from error
            digest.update(f"{file.absolute()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _decode_part(part: str, path: Path) -> NDArray[np.uint8]:
    with open_files(path) as files:
        names = _expected_files(part, files)
        rows = np.stack([np.packbits(files.ink(name)) for name in names])
    start = 0
    for alphabet, known in splits.alphabets().items():
        if known.part != part:
            continue
        stop = start + known.characters * DRAWINGS
        if not hashlib.sha256(rows[start:stop].data).hexdigest().startswith(known.digest):
            raise MetaftError(f"{path}: a drawing of alphabet {alphabet} differs from Omniglot's; fetch it again")
        start = stop
    return rows


def _expected_files(part: str, files: Files) -> list[str]:
    """The files of all drawings in stored order, whatever folders a newly packed zip put around them."""
    found: dict[str, str] = {}
    for name in files.names:
        if name.lower().endswith(".png"):
            drawing = "/".join(name.split("/")[-3:])
            if drawing in found:
                raise MetaftError(f"{files.path} holds {drawing} twice: {found[drawing]} and {name}")
            found[drawing] = name
    expected = [
        f"{alphabet}/character{i + 1:02d}/{known.first + i:04d}_{drawing:02d}.png"
        for alphabet, known in splits.alphabets().items()
        if known.part == part
        for i in range(known.characters)
        for drawing in range(1, DRAWINGS + 1)
    ]
    total = f"{len(found)} drawings, expected {len(expected)}"
    for drawing in expected:
        if drawing not in found:
            raise MetaftError(f"{files.path}: {drawing} is missing ({total}); fetch it again")
    if surplus := sorted(found.keys() - set(expected)):
        raise MetaftError(f"{files.path}: {surplus[0]} is not a drawing of Omniglot ({total}); remove it")
    return [found[drawing] for drawing in expected]
