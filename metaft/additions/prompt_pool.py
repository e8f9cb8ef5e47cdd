"""A pool of prompts, mixed for each text by how near their keys are to it (Jiang et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, softmax

from metaft.additions.addition import Addition, Params, Piece
from metaft.additions.prompt_start import WordStart, check_start, word_start
from metaft.additions.virtual_words import Where, WordVectors, add_words
from metaft.validate import require_count

EPSILON = 1e-12
"""Beside a variance, as in BERT."""


@dataclass(frozen=True)
class PromptPool(Addition):
    """Every text has a prompt of its own: Σ_i a_i θ_i of a pool's prompts, with a = softmax(K q / √d).

    Jiang, Zhang & Kwok 2023, "Effective structured prompting by meta-learning and representative verbalizer"
    (MetaPrompter), §3.1, eq. 4; keys K ``[prompts, width]``, prompts θ_i ``[length, width]``.

    Deviation: q is the mean of the text's word vectors, with mean 0 and deviation 1 over its numbers as a layer's state
    has. Theirs is the state of [MASK] in a first pass through the network without a prompt.

    Args:
        prompts: how many the pool holds.
        length: how many words each of them has.
        where: "before" the text; or "around" it, the second half behind its last word.
        start: what vectors begin as: "vocabulary", those of drawn words; or "normal", numbers with the vocabulary's
            mean and deviation. Keys are drawn from N(0, 1).
        frequent: from how many words is drawn, those with the lowest numbers; all if None.

    Raises:
        MetaftError: if there is no prompt or no word.
    """

    prompts: int = 8
    length: int = 8
    where: Where = "before"
    start: Literal["vocabulary", "normal"] = "vocabulary"
    frequent: int | None = None
    name: ClassVar[str] = "prompt-pool"
    silent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_count(self.prompts, "the prompts of a prompt-pool", 1)
        check_start(self.length, self.where, self.start, None, self.frequent, self.name)

    def sites(self, model: nn.Module) -> Mapping[str, Piece]:
        """Where words come in, and their vectors.

        Raises:
            MetaftError: if the network takes no words in, or no word looks back at what is behind it.
        """
        start = word_start(model, self.length, self.where, self.start, None, self.frequent, self.name)
        make = lambda first, count: PooledVectors(first, count, self.prompts, start)
        return add_words(model, start.ahead, start.behind, make, self.name)


@dataclass(frozen=True)
class PooledVectors(WordVectors):
    """Vectors mixed for each text.

    Args:
        first: the number of the first virtual word.
        count: how many there are.
        prompts: how many are mixed.
        start: what each of them begins as.
    """

    prompts: int
    start: WordStart

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """``vectors [prompts, count, width]`` and ``keys [prompts, width]``."""
        vectors = self.start.draw(layer, draw, self.prompts).unflatten(0, (self.prompts, self.count))
        return {"vectors": vectors, "keys": torch.randn(self.prompts, vectors.shape[-1], generator=draw)}

    def vectors(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """``[examples, count, width]``."""
        feature = self.feature(x, y)
        asked = layer_norm(feature, feature.shape[-1:], eps=EPSILON)
        weights = softmax(asked @ own["keys"].T / math.sqrt(asked.shape[-1]), dim=-1)
        return (weights @ own["vectors"].flatten(1)).unflatten(-1, own["vectors"].shape[1:])
