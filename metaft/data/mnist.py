"""MNIST: 70,000 handwritten digits (LeCun et al. 1998), and the idx files it comes in."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from metaft.data import locate
from metaft.data.images import LabelledImages
from metaft.errors import MetaftError

SIDE, DIGITS = 28, 10
FOLDERS = ("mnist", "", "MNIST/raw")
PARTS = {"train": "train", "test": "t10k"}
MAX_VALUES = 2**28
"""Five times MNIST's training images: what an idx file declares is refused beyond, before anything is allocated."""
_BYTES = 8
_READ_ERRORS = (OSError, EOFError, zlib.error)


def load(split: str, *, root: str | Path | None = None, size: int = SIDE) -> LabelledImages:
    """Load MNIST's ten digits as few-shot classes: for testing alone, as all splits would share them.

    The four files (as ``t10k-images-idx3-ubyte.gz``, packed or not) are looked for in each root's ``mnist`` and
    ``MNIST/raw``, and in the root itself.

    Args:
        split: ``"test"``.
        root: searched before ``$METAFT_DATA`` and ``./data``.
        size: side of the images in pixels, 8 to 105.

    Returns:
        ``uint8 [10000, 1, size, size]``, 255 = ink; classes ``"0"`` … ``"9"``.

    Raises:
        MetaftError: for another split, and for files that are missing, damaged or not MNIST's.

    LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE 86 (1998).
    """
    if split != "test":
        raise MetaftError(f"mnist has ten classes, all for testing, none to {split}; take another data set for that")
    return digits(split, root=root, size=size)


def digits(part: str, *, root: str | Path | None = None, size: int = SIDE) -> LabelledImages:
    """Load one part's ten digits class by class, for telling the same ten classes apart in training and test.

    Args:
        part: ``"train"`` (60,000 images) or ``"test"`` (10,000).
        root: as for :func:`load`.
        size: as for :func:`load`.

    Returns:
        ``uint8 [images, 1, size, size]``, 255 = ink; classes ``"0"`` … ``"9"``.

    Raises:
        MetaftError: for files that are missing, damaged or not MNIST's.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 8 <= size <= 105:
        raise MetaftError(f"image size must be a whole number from 8 to 105, not {size!r}")
    images, labels = read(part, root)
    if size != SIDE:
        images = np.stack(
            [np.asarray(Image.fromarray(i).resize((size, size), Image.Resampling.LANCZOS)) for i in images]
        )
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=DIGITS)
    if not counts.all():
        raise MetaftError(f"MNIST's {part} part has no digit {counts.argmin()}; fetch it again")
    names = tuple(str(digit) for digit in range(DIGITS))
    return LabelledImages(torch.from_numpy(images[order]).unsqueeze(1), torch.from_numpy(counts), names)


def read(part: str, root: str | Path | None = None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read one part as it is stored, for ordinary supervised training.

    Args:
        part: ``"train"`` or ``"test"``.
        root: as for :func:`load`.

    Returns:
        Images ``uint8 [n, 28, 28]``, 255 = ink, and labels ``uint8 [n]``, 0 to 9.

    Raises:
        MetaftError: as :func:`load`.
    """
    found = where(root)
    if found is None:
        looked = ", ".join(map(str, locate.roots(root)))
        raise MetaftError(
            f"MNIST was not found under {looked}: put its four files, such as t10k-images-idx3-ubyte.gz, "
            f"into {locate.roots(root)[0] / 'mnist'}"
        )
    images_file, labels_file = found[part]
    images, labels = read_idx(images_file), read_idx(labels_file)
    if images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise MetaftError(f"{images_file} holds {list(images.shape)} values, expected [n, {SIDE}, {SIDE}]")
    if labels.shape != images.shape[:1]:
        raise MetaftError(f"{labels_file} holds {list(labels.shape)} labels for {len(images)} images")
    if labels.max() >= DIGITS:
        raise MetaftError(f"{labels_file} has a label {labels.max()}, expected 0 to {DIGITS - 1}")
    return images, labels


def where(root: str | Path | None = None) -> dict[str, tuple[Path, Path]] | None:
    """Find MNIST without reading it.

    Args:
        root: as for :func:`load`.

    Returns:
        Part → its images and its labels; ``None`` where not all four files are in one place.
    """

    def holds(folder: Path) -> dict[str, tuple[Path, Path]] | None:
        for place in FOLDERS:
            found = {part: _pair(folder / place, prefix) for part, prefix in PARTS.items()}
            pairs = {part: pair for part, pair in found.items() if pair is not None}
            if len(pairs) == len(PARTS):
                return pairs
        return None

    return locate.find("mnist", root, holds)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file of bytes, packed by gzip or not.

    The format: two zero bytes, one for the type (8: unsigned bytes), one for the number of axes, the length of each
    as a big-endian 32-bit number, the values.

    Args:
        path: the file.

    Returns:
        Its values, of the shape it declares.

    Raises:
        MetaftError: if it is not such a file, declares more than 2²⁸ values, or holds more or fewer than it declares.
    """
    try:
        with open(path, "rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            # Read piece by piece: nothing is unpacked beyond what the header declares.
            with gzip.GzipFile(fileobj=plain) if packed else plain as file:
                head = file.read(4)
                if len(head) < 4 or head[:2] != b"\0\0" or head[2] != _BYTES or not 1 <= head[3] <= 4:
                    raise MetaftError(f"{path} is not an idx file of bytes (it begins with {head.hex(' ')})")
                lengths = file.read(4 * head[3])
                if len(lengths) < 4 * head[3]:
                    raise MetaftError(f"{path} ends within its header; fetch it again")
                shape = struct.unpack(f">{head[3]}I", lengths)
                count = math.prod(shape)
                if count > MAX_VALUES:
                    raise MetaftError(f"{path} declares {list(shape)} values, more than {MAX_VALUES:,}")
                content = file.read(count + 1)
    except _READ_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MetaftError(f"{path} cannot be read ({reason}); fetch it again") from error
    if len(content) != count:
        more = "more" if len(content) > count else f"{len(content):,}"
        raise MetaftError(f"{path} declares {count:,} values and holds {more}; fetch it again")
    return np.frombuffer(content, np.uint8).reshape(shape).copy()


def _pair(folder: Path, prefix: str) -> tuple[Path, Path] | None:
    images, labels = (
        next((path for suffix in (".gz", "") if (path := folder / f"{prefix}-{kind}-ubyte{suffix}").is_file()), None)
        for kind in ("images-idx3", "labels-idx1")
    )
    return (images, labels) if images and labels else None
