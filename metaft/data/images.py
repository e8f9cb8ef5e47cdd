"""Labelled images, class by class, as one in-memory tensor: what every image data set becomes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from metaft.data.examples import LabelledExamples
from metaft.data.layout import Layout
from metaft.errors import MetaftError


def as_numbers(images: Tensor) -> Tensor:
    """Pixels as networks take them.

    Args:
        images: ``uint8 [...]``, 0 to 255.

    Returns:
        ``float32 [...]`` in [0, 1].
    """
    return images.to(torch.float32).mul_(1 / 255)


@dataclass(frozen=True)
class LabelledImages(LabelledExamples):
    """Images of one split, the examples of a class lying side by side.

    Args:
        images: ``uint8 [examples, channels, height, width]``; 255 is ink (or full brightness).
        counts: ``int64 [classes]``, how many consecutive examples belong to each class, in order.
        names: one name a class, unique.

    Raises:
        MetaftError: if the shapes or types do not fit together.
    """

    images: Tensor
    counts: Tensor
    names: tuple[str, ...]
    layout: ClassVar[Layout] = "images"

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise MetaftError(
                f"images must be uint8 [examples, channels, height, width], "
                f"not {self.images.dtype} {list(self.images.shape)}"
            )
        if int(self.counts.sum()) != len(self.images) or len(self.counts) != len(self.names):
            raise MetaftError(
                f"{len(self.images)} images, class counts that add up to {int(self.counts.sum())} "
                f"and {len(self.names)} class names do not fit together"
            )
        if len(set(self.names)) != len(self.names):
            raise MetaftError("class names must be unique")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(channels, height, width)``."""
        return tuple(self.images.shape[1:])

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor) -> Tensor:
        """Some images as numbers in [0, 1].

        Args:
            rows: ``int64 [...]``, places among the images.

        Returns:
            ``float32 [..., channels, height, width]``.
        """
        return as_numbers(self.images.index_select(0, rows.reshape(-1))).view(*rows.shape, *self.input_shape)

    @cached_property
    def digest(self) -> str:
        """A sha256 over classes, their sizes and all pixels, 64 hexadecimal digits."""
        head = json.dumps([self.names, self.counts.tolist(), list(self.images.shape)])
        total = hashlib.sha256(head.encode())
        total.update(self.images.contiguous().numpy().data)
        return total.hexdigest()

    def keep(self, rows: Tensor, counts: Tensor) -> LabelledImages:
        """As `LabelledExamples`."""
        return LabelledImages(self.images[rows], counts, self.names)

    def select(self, classes: Sequence[int]) -> LabelledImages:
        """Keep some classes, in the order given.

        Args:
            classes: class indices.

        Returns:
            A new set that holds just those classes.
        """
        rows = [torch.arange(int(self.starts[c]), int(self.starts[c] + self.counts[c])) for c in classes]
        index = torch.cat(rows) if rows else torch.empty(0, dtype=torch.int64)
        keep = torch.as_tensor(list(classes), dtype=torch.int64)
        return LabelledImages(self.images[index], self.counts[keep], tuple(self.names[c] for c in classes))

    def with_channels(self, channels: int) -> LabelledImages:
        """Turn colour images grey (0.299 red + 0.587 green + 0.114 blue, ITU-R BT.601) or grey ones into colour.

        Args:
            channels: 1 for grey, 3 for colour; grey images become colour images whose three channels are equal.

        Returns:
            The same images, with so many channels.

        Raises:
            MetaftError: if there is no such conversion.
        """
        own = self.images.shape[1]
        if own == channels:
            return self
        if (own, channels) == (1, 3):
            return LabelledImages(self.images.repeat(1, 3, 1, 1), self.counts, self.names)
        if (own, channels) != (3, 1):
            raise MetaftError(f"images of {own} channels cannot be given {channels}; 1 and 3 turn into each other")
        weights = torch.tensor([299, 587, 114], dtype=torch.int32).reshape(3, 1, 1)
        grey = torch.empty_like(self.images[:, :1])
        for start in range(0, len(grey), 1024):  # a piece at a time: these numbers take four times the room
            mixed = (self.images[start : start + 1024] * weights).sum(1, keepdim=True, dtype=torch.int32)
            grey[start : start + 1024] = mixed.add_(500).div_(1000, rounding_mode="floor").to(torch.uint8)
        return LabelledImages(grey, self.counts, self.names)

    def with_rotations(self) -> LabelledImages:
        """Add each class turned by 90, 180 and 270 degrees as classes of their own (Santoro et al. 2016).

        Returns:
            Four times the classes, named ``name/rot000`` … ``name/rot270``, all unrotated ones first.

        Raises:
            MetaftError: if the images are not square.
        """
        height, width = self.images.shape[-2:]
        if height != width:
            raise MetaftError(f"only square images can be rotated, these are {height}×{width}")
        turned = [torch.rot90(self.images, k, (-2, -1)) for k in range(4)]
        names = tuple(f"{name}/rot{90 * k:03d}" for k in range(4) for name in self.names)
        return LabelledImages(torch.cat(turned).contiguous(), self.counts.repeat(4), names)


def together(parts: Sequence[LabelledImages]) -> LabelledImages:
    """Sets of other classes as one.

    Args:
        parts: one or more, of images of one shape.

    Returns:
        All classes, in the order of the parts.

    Raises:
        MetaftError: if two parts have a class in common.
    """
    first, *others = parts
    if not others:
        return first
    return LabelledImages(
        torch.cat([part.images for part in parts]),
        torch.cat([part.counts for part in parts]),
        tuple(name for part in parts for name in part.names),
    )
