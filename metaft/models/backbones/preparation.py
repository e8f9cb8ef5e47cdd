"""What a published network wants of an image: its size, three channels, its own normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Interpolation = Literal["bilinear", "bicubic"]


class Preparation(nn.Module):
    """Images in [0, 1] as a published network reads them.

    Those of another size are scaled, with antialiasing; grey ones get three equal channels.

    Args:
        size: height and width, in pixels.
        mean: of each channel, which is subtracted.
        deviation: of each channel, which is divided by.
        interpolation: how images are scaled.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        size: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        interpolation: Interpolation = "bilinear",
    ) -> None:
        super().__init__()
        self.size, self.interpolation = size, interpolation
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).reshape(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The images, prepared.

        Args:
            x: ``[examples, 1 or 3, height, width]``.

        Returns:
            ``[examples, 3, size, size]``.
        """
        if x.shape[-3] == 1:
            x = x.expand(-1, 3, -1, -1)
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode=self.interpolation, align_corners=False, antialias=True)
        return (x - self.mean) / self.deviation
