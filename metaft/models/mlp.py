"""The multi-layer perceptron of sinusoid regression."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError


class MLP(nn.Sequential):
    """Fully connected layers with ReLU between them: 1-40-40-1 in Finn et al. 2017, §5.1.

    Weights are drawn from a normal distribution of σ = 0.01 truncated at 2σ, biases are 0, as in that paper's code.

    Args:
        inputs: width of an example.
        outputs: width of the answer.
        hidden: widths of the hidden layers.
        std: σ of the initial weights.
        input_dropout: share of the inputs that is dropped in training, in [0, 1): 0.2 in Srivastava et al. 2014.
        dropout: share of each hidden layer that is dropped in training, in [0, 1): 0.5 there. Their limit on the
            weights' norm is left out.

    Raises:
        MetaftError: if a share is out of range.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: tuple[int, ...] = (40, 40),
        std: float = 0.01,
        input_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        for name, share in (("input_dropout", input_dropout), ("dropout", dropout)):
            if not 0 <= share < 1:
                raise MetaftError(f"{name} must lie in [0, 1), not {share!r}")
        widths = (inputs, *hidden, outputs)
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            linear = nn.Linear(before, after)
            nn.init.trunc_normal_(linear.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(linear.bias)
            share = dropout if i else input_dropout
            layers += [nn.Dropout(share)] if share else []
            layers += [linear] if i == len(widths) - 2 else [linear, nn.ReLU()]
        super().__init__(*layers)

    @classmethod
    def fitting(cls, outputs: int, input_shape: tuple[int, ...], **options: Any) -> Self:
        """The network for examples of a shape, of which it sees a vector.

        Args:
            outputs: width of the answer.
            input_shape: of an example.
            options: its own.

        Returns:
            The network.
        """
        return cls(math.prod(input_shape), outputs, **options)

    def forward(self, x: Tensor) -> Tensor:
        """Answer ``[examples, inputs]`` with ``[examples, outputs]``."""
        return super().forward(torch.flatten(x, 1))
