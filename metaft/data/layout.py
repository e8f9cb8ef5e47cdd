"""What an example is, and so how tasks are chunked and laid out in memory: said by its family, not guessed."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Layout = Literal["images", "sequences", "vectors"]
"""Channels and space ``[channels, *space]``; places ``[places]`` or ``[places, width]``; anything else."""


def likeliest(x: Tensor) -> Layout:
    """The likeliest layout of examples that nobody has said it of, such as those of a batch made by hand.

    Args:
        x: ``[tasks, examples, *input]``.

    Returns:
        "images" from three axes of the input on, "sequences" for two, or for one of whole numbers.
    """
    axes = x.dim() - 2
    if axes >= 3:
        return "images"
    return "sequences" if axes == 2 or (axes == 1 and not x.is_floating_point()) else "vectors"
