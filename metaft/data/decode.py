"""Image files of any ordinary kind, decoded in parallel, small and checked: no file is trusted."""

from __future__ import annotations

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

from metaft.errors import MetaftError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm"})
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


def decode(files: Sequence[Path], size: int) -> Tensor:
    """Decode image files and scale each to a square, whatever its proportions, as miniImageNet's authors did.

    Transparency is dropped; of an animation the first picture is taken.

    Args:
        files: PNG, JPEG, BMP, GIF, WebP or PPM.
        size: side of the result in pixels, 8 to 512.

    Returns:
        ``uint8 [files, 3, size, size]``, red, green and blue.

    Raises:
        MetaftError: naming the file that is absurdly large, unreadable, or of more than 8 bits a channel.
    """
    check_size(size)
    if len(files) * 3 * size**2 > MAX_RESULT_BYTES:
        raise MetaftError(f"{len(files)} images of {size}×{size} are too much for memory; choose a smaller image size")
    out = np.empty((len(files), 3, size, size), np.uint8)
    pool = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1), "metaft-decode")
    # Pillow warns of large images, which are refused here in one line. Set once: warning filters are the process's.
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
        try:
            for row, pixels in zip(out, pool.map(partial(_one, size=size), files), strict=True):
                row[:] = pixels
        finally:
            pool.shutdown(cancel_futures=True)
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
        with Image.open(path, formats=FORMATS) as image:
            # The size stands in the header: refuse before anything is decoded.
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise MetaftError(f"{path} has {width}×{height} pixels, more than {MAX_PIXELS:,}; make it smaller")
            if image.mode[0] in "IF":
                raise MetaftError(f"{path} has more than 8 bits a channel; convert it to an 8-bit image")
            return _shrunk(image.convert("RGB"), size)
    except MetaftError:
        raise
    except Exception as error:  # what Pillow's decoders raise on damaged files is not limited to a few types
        raise MetaftError(f"{path} cannot be read as an image ({_line(error)}); mend or remove it") from error


def _shrunk(image: Image.Image, size: int) -> NDArray[np.uint8]:
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
