"""The multi-layer perceptron of sinusoid regression."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class MLP(nn.Sequential):
    """Fully connected layers with ReLU between them: 1-40-40-1 in Finn et al. 2017, §5.1.

    Weights are drawn from a normal distribution of σ = 0.01 truncated at 2σ, biases are 0, as in that paper's code.

    Args:
        inputs: width of an example.
        outputs: width of the answer.
        hidden: widths of the hidden layers.
        std: σ of the initial weights.
    """

    def __init__(self, inputs: int, outputs: int, hidden: tuple[int, ...] = (40, 40), std: float = 0.01) -> None:
        widths = (inputs, *hidden, outputs)
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            linear = nn.Linear(before, after)
            nn.init.trunc_normal_(linear.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(linear.bias)
            layers += [linear] if i == len(widths) - 2 else [linear, nn.ReLU()]
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Answer ``[examples, inputs]`` with ``[examples, outputs]``."""
        return super().forward(torch.flatten(x, 1))
