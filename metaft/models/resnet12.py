"""ResNet-12, the twelve-layer residual network of few-shot learning."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, get_args

from torch import Tensor, nn

from metaft.errors import MetaftError, nearest
from metaft.models.square import OfSquareImages

Widths = Literal["wide", "doubling"]
FACTORS = {"wide": (1, 2.5, 5, 10), "doubling": (1, 2, 4, 8)}


class ResNet12(OfSquareImages):
    """Four residual blocks of three 3×3 convolutions, their spatial mean, then a linear head (Oreshkin et al. 2018).

    As in MetaOptNet (Lee et al. 2019): batch norm, LeakyReLU with slope 0.1, a 1×1 convolution with batch norm as the
    shortcut of every block, 2×2 max-pooling behind it, convolutions drawn by He's rule for the number of outputs.

    Deviation: MetaOptNet's regularisers, dropout in the first two blocks and DropBlock in the last two, are left out:
    a random mask would make the network another function at every inner step.

    Args:
        channels: of the input.
        size: height and width of the input, at least 16.
        outputs: width of the answer.
        hidden: filters of the first block.
        widths: of the blocks, as multiples of ``hidden``: "wide" is 1, 2.5, 5, 10 (64, 160, 320, 640: MetaOptNet, SKD),
            "doubling" 1, 2, 4, 8 (64, 128, 256, 512: TADAM, Meta-Baseline).

    Raises:
        MetaftError: if the widths are unknown, or the image is too small.
    """

    def __init__(self, channels: int, size: int, outputs: int, hidden: int = 64, widths: Widths = "wide") -> None:
        super().__init__()
        if widths not in get_args(Widths):
            raise MetaftError(f"unknown widths {widths!r}{nearest(widths, get_args(Widths))}")
        if size < 16:
            raise MetaftError(f"the four max-pools of resnet12 need images of at least 16×16, not {size}×{size}")
        self.input_shape = (channels, size, size)
        each = [int(hidden * factor) for factor in FACTORS[widths]]
        blocks = [ResidualBlock(before, after) for before, after in zip([channels, *each[:3]], each, strict=True)]
        self.features = nn.Sequential(*blocks, SpatialMean())
        self.head = nn.Linear(each[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Answer ``[examples, channels, size, size]`` with ``[examples, outputs]``."""
        return self.head(self.features(x))


class ResidualBlock(nn.Module):
    """Three 3×3 convolutions beside a 1×1 shortcut, added, then LeakyReLU and 2×2 max-pooling.

    Args:
        before: channels of the input.
        after: channels of the output.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number in (1, 2, 3):
            layers[f"conv{number}"] = _convolution(before if number == 1 else after, after, 3)
            layers[f"norm{number}"] = nn.BatchNorm2d(after)
            if number < 3:
                layers[f"relu{number}"] = nn.LeakyReLU(0.1)
        self.path = nn.Sequential(layers)
        self.shortcut = nn.Sequential(_convolution(before, after, 1), nn.BatchNorm2d(after))
        self.relu = nn.LeakyReLU(0.1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """``[examples, before, side, side]`` to ``[examples, after, side // 2, side // 2]``."""
        return self.pool(self.relu(self.path(x) + self.shortcut(x)))


class SpatialMean(nn.Module):
    """The mean over all places; AdaptiveAvgPool2d(1) is the same, but torch.func runs it task by task and warns."""

    def forward(self, x: Tensor) -> Tensor:
        """``[examples, channels, height, width]`` to ``[examples, channels]``."""
        return x.mean((-2, -1))


def _convolution(before: int, after: int, kernel: int) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, a=0.1, mode="fan_out", nonlinearity="leaky_relu")
    return conv
