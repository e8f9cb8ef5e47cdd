"""Pictures of any kind as a learner takes them: scaled, grey or in colours, ink bright where it was trained so."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metaft.data import decode
from metaft.data.images import LabelledImages, as_numbers
from metaft.errors import MetaftError, nearest
from metaft.estimator.inputs import first_of, listed

Ink = Literal["auto", "dark", "bright"]
HALF = 0.5


@dataclass(frozen=True)
class ImageInputs:
    """Files, pictures of Pillow, arrays and tensors as ``float32 [images, channels, size, size]`` in [0, 1].

    Args:
        channels: 1 for grey, 3 for colours.
        size: height and width, in pixels; what has another is scaled, and made square.
        bright_ink: whether the learner knows drawings as bright ink on black paper (Omniglot, glyphs, MNIST).
        ink: of the user's drawings: "dark" ink on bright paper, "bright" ink on dark paper, or "auto", told image by
            image by what most of it is. Without ``bright_ink`` it changes nothing.

    Raises:
        MetaftError: if `ink` is none of these.
    """

    channels: int
    size: int
    bright_ink: bool = False
    ink: Ink = "auto"
    kind = "images"

    def __post_init__(self) -> None:
        decode.check_size(self.size)
        if self.ink not in get_args(Ink):
            raise MetaftError(f"unknown ink {self.ink!r}{nearest(str(self.ink), get_args(Ink))}")

    def read(self, given: Any) -> Tensor:
        """As `Inputs`.

        Args:
            given: a list of paths or of pictures; or an array or tensor ``[images, height, width]``, ``[images, height,
                width, channels]`` or ``[images, channels, height, width]``, whole numbers from 0 to 255 or fractions
                from 0 to 1.

        Returns:
            ``float32 [images, channels, size, size]``.

        Raises:
            MetaftError: as `Inputs`, or if an array is none of images.
        """
        first = first_of(given)
        if isinstance(first, str | Path):
            found = self._as_numbers(decode.decode([Path(file) for file in listed(given)], self.size))
        elif isinstance(first, Image.Image):
            found = self._as_numbers(decode.of_pictures(listed(given), self.size))
        else:
            found = self._array(given)
        return self._inked(found)

    def describe(self) -> dict[str, Any]:
        """Its settings."""
        return {"kind": self.kind, **asdict(self)}

    def _as_numbers(self, images: Tensor) -> Tensor:
        """``uint8 [n, 3, size, size]`` in the channels that are wanted."""
        counts = torch.tensor([len(images)])
        return as_numbers(LabelledImages(images, counts, ("all",)).with_channels(self.channels).images)

    def _array(self, given: Any) -> Tensor:
        values = self._fractions(given)
        if values.dim() == 2 and values.shape[1] == self.channels * self.size**2:
            return values.unflatten(1, (self.channels, self.size, self.size))
        if values.dim() == 3:
            values = values.unsqueeze(1)
        elif values.dim() != 4:
            raise MetaftError(
                f"an array of {list(values.shape)} holds no images for this learner; expected [images, height, width], "
                f"[images, height, width, channels] or [images, channels, height, width], or of each image all "
                f"{self.channels} × {self.size} × {self.size} pixels in a row"
            )
        elif tuple(values.shape[1:]) != (self.channels, self.size, self.size) and values.shape[3] in (1, 3, 4):
            values = values.permute(0, 3, 1, 2)
        if values.shape[1] not in (1, 3, 4):
            raise MetaftError(f"images of {values.shape[1]} channels: expected 1 (grey), 3 (colours) or 4 (with alpha)")
        if tuple(values.shape[1:]) == (self.channels, self.size, self.size):
            return values.contiguous()
        pixels = (values * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        pictures = [Image.fromarray(one[..., 0] if one.shape[-1] == 1 else one) for one in np.ascontiguousarray(pixels)]
        return self._as_numbers(decode.of_pictures(pictures, self.size))

    @staticmethod
    def _fractions(given: Any) -> Tensor:
        """Numbers in [0, 1], whatever stands for full brightness."""
        try:
            values = given.detach().cpu() if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
        except (TypeError, ValueError):
            raise MetaftError("images are given as paths, pictures, or an array of images of one size") from None
        if not values.is_floating_point() and not values.is_complex():
            return values.clamp(0, 255).to(torch.float32) / (1 if values.dtype == torch.bool else 255)
        values = values.to(torch.float32)
        if not bool(values.isfinite().all()):
            raise MetaftError("images have NaN or infinite values; mend the data")
        low, high = (float(values.min()), float(values.max())) if values.numel() else (0.0, 0.0)
        if low < 0 or high > 1:
            raise MetaftError(
                f"images of fractions are to lie in [0, 1], and these go from {low:.3g} to {high:.3g}; divide by the "
                "brightness of white, or give whole numbers from 0 to 255 (uint8)"
            )
        return values

    def _inked(self, images: Tensor) -> Tensor:
        """Drawings as the learner knows them."""
        if not self.bright_ink or self.ink == "bright":
            return images
        dark = torch.ones(len(images), dtype=torch.bool)
        if self.ink == "auto":  # there is more paper than ink
            dark = images.flatten(1).mean(1) > HALF
        return torch.where(dark[:, None, None, None], 1 - images, images)
