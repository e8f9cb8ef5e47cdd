"""A prompt that each text moves: a small network of the text's words is added to it (Zhou et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from metaft.additions.addition import Addition, Params, Piece
from metaft.additions.prompt_encoder import create_layers, layers
from metaft.additions.prompt_start import Start, WordStart, check_start, word_start
from metaft.additions.virtual_words import Where, WordVectors, add_words
from metaft.validate import require_count

LENGTH, NARROWER = 4, 16
"""Of Zhou et al. 2022, §4: words of a prompt, and how much narrower than a vector the small network is."""


@dataclass(frozen=True)
class ConditionalPrompt(Addition):
    """v_m + π(x) in place m of a prompt, where π is a small network of the text x, the same for all places.

    Zhou et al. 2022, "Conditional prompt learning for vision-language models" (CoCoOp), §3.2. π is two Linear layers
    with ReLU between.

    Deviations: theirs is given an image's features, this one the mean of the text's word vectors; and its second layer
    begins at 0, so that the start is a prompt that all texts share, not one with noise on it.

    Args:
        length: how many words; those of the text, or 4, if None.
        where: "before" the text; or "around" it, the second half behind its last word.
        start: what vectors begin as: "vocabulary", those of drawn words; "normal", numbers with the vocabulary's mean
            and deviation; "text", the words of a text. The last with a text, else the first.
        text: an English prompt to begin from; around a text it holds {} in that text's place.
        frequent: from how many words is drawn, those with the lowest numbers; all if None.
        hidden: width of the small network; a sixteenth of that of a vector if None.

    Raises:
        MetaftError: if there is no word, or options do not go together.
    """

    length: int | None = None
    where: Where = "before"
    start: Start | None = None
    text: str | None = None
    frequent: int | None = None
    hidden: int | None = None
    name: ClassVar[str] = "conditional-prompt"
    silent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_start(self.length, self.where, self.start, self.text, self.frequent, self.name)
        if self.hidden is not None:
            require_count(self.hidden, "hidden", 1)

    def sites(self, model: nn.Module) -> Mapping[str, Piece]:
        """Where words come in, and their vectors.

        Raises:
            MetaftError: if the network takes no words in, a text cannot be read, or no word looks back at what is
                behind it.
        """
        start = word_start(
            model, self.length or LENGTH, self.where, self.start, self.text, self.frequent, self.name
        )  # fmt: skip
        make = lambda first, count: MovedVectors(first, count, start, self.hidden)
        return add_words(model, start.ahead, start.behind, make, self.name)


@dataclass(frozen=True)
class MovedVectors(WordVectors):
    """Vectors that each text moves.

    Args:
        first: the number of the first virtual word.
        count: how many there are.
        start: what they begin as.
        hidden: width of the small network; None for the default.
    """

    start: WordStart
    hidden: int | None

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """``vectors [count, width]``, and the small network's weights."""
        vectors = self.start.draw(layer, draw)
        width = vectors.shape[-1]
        small = create_layers((width, self.hidden or max(width // NARROWER, 1), width), draw)
        return {"vectors": vectors} | small | {n: torch.zeros_like(small[n]) for n in ("weight_1", "bias_1")}

    def vectors(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """``[examples, count, width]``."""
        return own["vectors"] + layers(own, self.feature(x, y)).unsqueeze(-2)
