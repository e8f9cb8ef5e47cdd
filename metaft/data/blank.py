"""Images that show nothing: refused where a class is made of them, counted aloud where they are few."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from metaft.data.images import LabelledImages
from metaft.data.notes import counted, say
from metaft.errors import MetaftError

# A plain image is plain on a coarse grid too: few are looked at whole.
GRID = (7, 5)


def plain(images: Tensor) -> Tensor:
    """Which images have one colour all over.

    Args:
        images: ``uint8 [n, channels, height, width]``.

    Returns:
        ``bool [n]``.
    """
    first = images[:, :, :1, :1]
    found = (images[:, :, :: GRID[0], :: GRID[1]] == first).flatten(1).all(1)
    rows = found.nonzero().squeeze(1)
    found[rows] = torch.stack([(images[row] == first[row]).all() for row in rows.tolist()]) if len(rows) else True
    return found


def require_pictures(held: LabelledImages, files: Sequence[Path]) -> None:
    """Refuse classes of which nothing is left to tell them by.

    A data set of patches of colour is one: its classes differ by colour. What is refused is a class of plain images
    of one colour among classes of pictures, and two such classes of the same colour.

    Args:
        held: the images.
        files: of each image, for messages.

    Raises:
        MetaftError: naming a file.
    """
    blank = plain(held.images)
    if not bool(blank.any()):
        return
    colours = held.images[:, :, 0, 0]
    alike: dict[tuple[int, ...], str] = {}
    for name, start, count in zip(held.names, held.starts.tolist(), held.counts.tolist(), strict=True):
        own = slice(start, start + count)
        if not count or not bool(blank[own].all()) or not bool((colours[own] == colours[start]).all()):
            continue
        colour, file = tuple(colours[start].tolist()), files[start]
        if colour in alike:
            raise MetaftError(
                f"nothing tells classes {alike[colour]!r} and {name!r} apart: all their images are of one colour, "
                f"{colour}, such as {file}; mend or remove them"
            )
        alike[colour] = name
        if count > 1 and not bool(blank.all()):
            raise MetaftError(
                f"nothing is to be seen on the {count} images of class {name!r}, such as {file}: all their pixels are "
                f"{colour}; mend or remove them"
            )
    if not bool(blank.all()):
        number = int(blank.sum())
        first = files[int(blank.nonzero()[0, 0])]
        say(f"{counted(number, 'image')} of {len(blank):,} show nothing, being of one colour all over, such as {first}")
