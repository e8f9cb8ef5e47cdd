"""A learned map of word vectors: the same small change of space for all words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from metaft.additions.adapter import ACTIVATIONS, Activation
from metaft.additions.addition import Addition, Params, Piece
from metaft.additions.linear import matrix
from metaft.additions.virtual_words import word_layer
from metaft.errors import MetaftError, nearest
from metaft.validate import require_count


@dataclass(frozen=True)
class InputMap(Addition):
    """v + B f(A v + a) + b in place of each word's vector v; A ``[rank, width]`` is drawn, the rest begins at 0.

    With f the identity it is an affine map of low rank. Vectors of places are added afterwards. Of two additions the
    later one sees what the earlier one does: behind a prompt it maps the prompt's words too ("prompt+input-map"),
    before one it does not. Scores for words are taken with the matrix of words as it is, so that it cannot be merged.

    Args:
        rank: how many numbers are between A and B.
        activation: f: "none", "relu", "gelu", "silu" or "tanh".

    Raises:
        MetaftError: if the rank is below 1, or the activation unknown.
    """

    rank: int = 16
    activation: Activation = "none"
    name: ClassVar[str] = "input-map"
    word_by_word: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self.rank, "the rank of an input-map", 1)
        if self.activation not in ACTIVATIONS:
            raise MetaftError(
                f"input-map has no activation {self.activation!r}{nearest(self.activation, get_args(Activation))}"
            )

    def sites(self, model: nn.Module) -> Mapping[str, Piece]:
        """The layer of word vectors.

        Raises:
            MetaftError: if there is none.
        """
        return {word_layer(model, self.name): self}

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """A as torch draws a Linear layer's weight; a, B and b are 0."""
        width = matrix(layer).shape[-1]
        bound = width**-0.5
        return {
            "A": torch.empty(self.rank, width).uniform_(-bound, bound, generator=draw),
            "a": torch.zeros(self.rank),
            "B": torch.zeros(width, self.rank),
            "b": torch.zeros(width),
        }

    def after(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """v + B f(A v + a) + b."""
        return y + ACTIVATIONS[self.activation](y @ own["A"].T + own["a"]) @ own["B"].T + own["b"]
