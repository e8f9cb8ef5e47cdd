"""A prompt that each text moves: a small network of the text's words is added to it (Zhou et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from metaft.additions.addition import Params
from metaft.additions.prompt_encoder import create_layers, layers
from metaft.additions.prompt_start import SoftPrompt, WordStart
from metaft.additions.virtual_words import WordVectors
from metaft.validate import require_count

NARROWER = 16
"""So many times narrower than a vector is the small network (Zhou et al. 2022, §4)."""


@dataclass(frozen=True)
class ConditionalPrompt(SoftPrompt):
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

    hidden: int | None = None
    name: ClassVar[str] = "conditional-prompt"
    usual: ClassVar[int] = 4  # ibid., §4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden is not None:
            require_count(self.hidden, "hidden", 1)

    def vectors(self, first: int, count: int, start: WordStart) -> WordVectors:
        """v_m + π(x)."""
        return MovedVectors(first, count, start, self.hidden)


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
