"""Ink on paper: pen paths to grey, anti-aliased images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FINE = 4  # ink is laid on a grid this many times finer than the image, in each direction


def ink(
    points: NDArray[np.complex128], drawn: NDArray[np.bool_], radius: NDArray[np.float64], size: int
) -> NDArray[np.uint8]:
    """Lay discs of ink along the strokes on a fine grid, then average it down to grey.

    Args:
        points: ``[drawings, strokes, samples]``, x + iy with y downwards, as shares of the paper's side.
        drawn: ``[drawings, strokes]``, which strokes there are.
        radius: ``[drawings]``, half the pen's width, a share of the paper's side.
        size: height and width of the images, pixels.

    Returns:
        ``uint8 [drawings, size, size]``; 255 is a pixel covered by ink.
    """
    side = FINE * size
    which, stroke = np.nonzero(drawn)
    pen = points[which, stroke] * side
    reach = int(np.ceil(radius.max() * side))
    paper = np.zeros((len(points), side, side), np.uint8)
    flat = paper.reshape(-1)
    column, row = np.floor(pen.real).astype(np.int64), np.floor(pen.imag).astype(np.int64)
    fx, fy = (pen.real - column - 0.5).astype(np.float32), (pen.imag - row - 0.5).astype(np.float32)
    bound = ((radius * side) ** 2)[which, None].astype(np.float32)
    base = which[:, None] * (side * side) + row * side + column
    for dy in range(-reach, reach + 1):
        fits_y = (row + dy >= 0) & (row + dy < side)
        for dx in range(-reach, reach + 1):
            if dx * dx + dy * dy > (reach + 0.5) ** 2:
                continue
            inked = (fx - dx) ** 2 + (fy - dy) ** 2 <= bound
            inked &= fits_y & (column + dx >= 0) & (column + dx < side)
            flat[base[inked] + (dy * side + dx)] = 1
    grey = paper.reshape(len(points), size, FINE, size, FINE).sum((2, 4), dtype=np.uint16)
    return np.rint(grey * (255.0 / FINE**2)).astype(np.uint8)
