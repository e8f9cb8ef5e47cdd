"""The ResNet-12 row: 84×84 images, two tasks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.problem import Problem, random_episodes
from benchmarks.row import Row, gradient_row

SHAPE = (3, 84, 84)


class Block(nn.Module):
    """Three 3×3 convolutions with batch norm and a 1×1 shortcut, then LeakyReLU and 2×2 max-pooling."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        widths = (before, after, after)
        parts: list[nn.Module] = []
        for width in widths:
            parts += [nn.Conv2d(width, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.1)]
        self.path = nn.Sequential(*parts[:-1])
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
        self.end = nn.Sequential(nn.LeakyReLU(0.1), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.path(x) + self.shortcut(x))


class ResNet12(nn.Sequential):
    """The ResNet-12 of few-shot learning without DropBlock (Lee et al. 2019, MetaOptNet; widths of Chen et al. 2021).

    Args:
        outputs: ways.
        widths: channels of the four blocks.
    """

    def __init__(self, outputs: int, widths: tuple[int, ...] = (64, 128, 256, 512)) -> None:
        blocks = [Block(before, after) for before, after in zip((3, *widths), widths, strict=False)]
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], outputs))


def problem(tasks: int = 2) -> Problem:
    """5-way 1-shot, 15 queries a class, 1 step of 0.01."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ResNet12(5)
    return Problem(model, random_episodes(tasks, 5, 1, 15, SHAPE), "classification", lr=0.01, steps=1)


ROWS = {
    "resnet12": Row(
        "ResNet-12 at 84×84, 2 tasks, 15 queries, 1 step", "meta-gradient", gradient_row(problem), target=1.3
    )
}
