"""Conv4, the four-block network of few-shot learning."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, get_args

from torch import Tensor, nn

from metaft.errors import MetaftError, nearest
from metaft.models.square import OfSquareImages

Pool = Literal["stride", "max"]


class Conv4(OfSquareImages):
    """Four blocks of 3×3 convolution, batch norm and ReLU, then a linear head (Finn et al. 2017, §5.2).

    With ``pool="stride"`` the convolutions have stride 2 and the head sees the spatial mean, as in MAML on Omniglot;
    with ``pool="max"`` each block ends in 2×2 max-pooling and the head sees everything, as on mini-ImageNet.
    Convolutions start Xavier-uniform and biases at 0, as in that paper's code. Deviation: the head starts truncated
    normal with σ = 0.01, which there is the fully connected network's; Conv4's head has σ = 1 on Omniglot and Xavier on
    mini-ImageNet.

    Args:
        channels: of the input.
        size: height and width of the input.
        outputs: width of the answer.
        hidden: filters a block.
        pool: "stride" or "max".

    Raises:
        MetaftError: if the pooling is unknown, or the image too small for it.
    """

    def __init__(self, channels: int, size: int, outputs: int, hidden: int = 64, pool: Pool = "stride") -> None:
        super().__init__()
        if pool not in get_args(Pool):
            raise MetaftError(f"unknown pool {pool!r}{nearest(pool, get_args(Pool))}")
        if pool == "max" and size < 16:
            raise MetaftError(f"four max-pools need images of at least 16×16, not {size}×{size}; use pool='stride'")
        self.input_shape = (channels, size, size)
        blocks = [_block(channels if i == 0 else hidden, hidden, pool) for i in range(4)]
        summary: nn.Module = nn.AdaptiveAvgPool2d(1) if pool == "stride" else nn.Identity()
        self.features = nn.Sequential(*blocks, summary, nn.Flatten())
        self.head = nn.Linear(hidden if pool == "stride" else hidden * (size // 16) ** 2, outputs)
        nn.init.trunc_normal_(self.head.weight, std=0.01, a=-0.02, b=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Answer ``[examples, channels, size, size]`` with ``[examples, outputs]``."""
        return self.head(self.features(x))


def _block(before: int, after: int, pool: Pool) -> nn.Module:
    conv = nn.Conv2d(before, after, 3, stride=2 if pool == "stride" else 1, padding=1)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    parts: list[tuple[str, nn.Module]] = [
        ("conv", conv),
        ("norm", nn.BatchNorm2d(after)),
        ("relu", nn.ReLU()),
    ]
    if pool == "max":
        parts.append(("pool", nn.MaxPool2d(2)))
    return nn.Sequential(OrderedDict(parts))
