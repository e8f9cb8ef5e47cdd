"""Image files of any ordinary kind, decoded in parallel, small and checked: no file is trusted."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from metaft.data.picture import is_plain, shown
from metaft.errors import MetaftError

COMMON = ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "PPM", "AVIF", "JPEG2000")
"""Formats told by how they begin, whatever the file is called; others are taken where the file's name says so."""
LEFT_ALONE = frozenset({"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5", "IPTC"})
"""Known to Pillow by name, but drawn by another program (Ghostscript, Windows) or not decoded at all."""
MAX_FILE_BYTES = 2**26
# Each thread holds one decoded image: 100 MB at most.
MAX_PIXELS = 2**25
MAX_THREADS = 4
MAX_RESULT_BYTES = 2**35
SIZES = (8, 512)


def check_size(size: int) -> None:
    """Refuse a side length that is not a whole number from 8 to 512.

    Raises:
        MetaftError: then.
    """
    low, high = SIZES
    if isinstance(size, bool) or not isinstance(size, int) or not low <= size <= high:
        raise MetaftError(f"image size must be a whole number from {low} to {high}, not {size!r}")


@functools.cache
def suffixes() -> dict[str, tuple[str, ...]]:
    """How the names of image files end, in lower case → the formats that such a file may have."""
    by_suffix = Image.registered_extensions()
    common = tuple(name for name in COMMON if name in Image.OPEN)  # not every Pillow has AVIF, for one
    # MPO is a JPEG with further pictures behind it.
    of_its_own = {suffix: (name,) for suffix, name in by_suffix.items() if name in Image.OPEN and name not in common}
    return {suffix: common for suffix, name in by_suffix.items() if name in (*common, "MPO")} | {
        suffix: common + name for suffix, name in of_its_own.items() if not LEFT_ALONE.intersection(name)
    }


def is_image(name: str) -> bool:
    """Whether a file's name ends as an image's does, in any case."""
    return _suffix(name) in suffixes()


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def decode(files: Sequence[Path], size: int) -> Tensor:
    """Decode image files and scale each to a square, whatever its proportions, as miniImageNet's authors did.

    Images are turned as their EXIF says, and what is transparent is laid on white; of an animation the first picture
    is taken.

    Args:
        files: of any format that Pillow reads (PNG, JPEG, TIFF, BMP, GIF, WebP, PPM, …).
        size: side of the result in pixels, 8 to 512.

    Returns:
        ``uint8 [files, 3, size, size]``, red, green and blue.

    Raises:
        MetaftError: naming the file that is absurdly large, unreadable, of more than 8 bits a channel, or of which
            nothing is left once it is laid on white and scaled.
    """
    check_size(size)
    if len(files) * 3 * size**2 > MAX_RESULT_BYTES:
        raise MetaftError(f"{len(files)} images of {size}×{size} are too much for memory; choose a smaller image size")
    out = np.empty((len(files), 3, size, size), np.uint8)
    pool = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1), "metaft-decode")
    suffixes()  # loads Pillow's readers, once and not in every thread
    # Pillow warns of large images, which are refused here in one line, and of damaged notes in them, which do not
    # matter. Set once: warning filters are the process's.
    with warnings.catch_warnings(action="ignore"):
        try:
            for row, pixels in zip(out, pool.map(partial(_one, size=size), files), strict=True):
                row[:] = pixels
        finally:
            pool.shutdown(cancel_futures=True)
    return torch.from_numpy(out)


def of_pictures(pictures: Sequence[Image.Image], size: int) -> Tensor:
    """Scale pictures that are open already, as :func:`decode` does those in files.

    Args:
        pictures: as Pillow opened or made them.
        size: side of the result in pixels, 8 to 512.

    Returns:
        ``uint8 [pictures, 3, size, size]``, red, green and blue.

    Raises:
        MetaftError: saying which by its number, from 0, as :func:`decode`.
    """
    check_size(size)
    out = np.empty((len(pictures), 3, size, size), np.uint8)
    for number, (row, picture) in enumerate(zip(out, pictures, strict=True)):
        try:
            row[:] = _shrunk(shown(picture, f"image {number}"), size)
        except MetaftError:
            raise
        except Exception as error:  # a picture is decoded when it is first looked at
            raise MetaftError(f"image {number} cannot be read ({_line(error)})") from error
    return torch.from_numpy(out)


def scaled(images: Tensor, size: int) -> Tensor:
    """Scale square images that are decoded already by the same filter.

    Args:
        images: ``uint8 [n, 3, side, side]``.
        size: side of the result in pixels.

    Returns:
        ``uint8 [n, 3, size, size]``.
    """
    check_size(size)
    if images.shape[-1] == size:
        return images
    out = np.empty((len(images), 3, size, size), np.uint8)
    for row, pixels in zip(out, images.permute(0, 2, 3, 1).contiguous().numpy(), strict=True):
        row[:] = _shrunk(Image.fromarray(pixels), size)
    return torch.from_numpy(out)


def _one(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise MetaftError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB, so not an image for this purpose")
        with Image.open(path, formats=suffixes().get(_suffix(path.name), suffixes()[".png"])) as image:
            # The size stands in the header: refuse before anything is decoded.
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise MetaftError(f"{path} has {width}×{height} pixels, more than {MAX_PIXELS:,}; make it smaller")
            picture = shown(image, path)
            pixels = _shrunk(picture, size)
            if _is_plain(pixels) and not is_plain(picture):
                raise MetaftError(
                    f"{path}: scaled from {width}×{height} to {size}×{size} pixels nothing is left of it; "
                    "choose a larger image size, or remove it"
                )
            return pixels
    except MetaftError:
        raise
    except Exception as error:  # what Pillow's decoders raise on damaged files is not limited to a few types
        raise MetaftError(f"{path} cannot be read as an image ({_line(error)}); mend or remove it") from error


def _shrunk(image: Image.Image, size: int) -> NDArray[np.uint8]:
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1)


def _is_plain(pixels: NDArray[np.uint8]) -> bool:
    """Whether all pixels have one colour, ``[3, size, size]``."""
    return bool((pixels == pixels[:, :1, :1]).all())


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
