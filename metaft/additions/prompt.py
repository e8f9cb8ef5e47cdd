"""Soft prompts: the vectors of words that no vocabulary has, before a text or around it (Lester et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from metaft.additions.addition import Params
from metaft.additions.linear import matrix
from metaft.additions.prompt_encoder import MadeBy, create_layers, create_lstm, layers, lstm
from metaft.additions.prompt_start import SoftPrompt, WordStart
from metaft.additions.virtual_words import WordVectors
from metaft.errors import MetaftError
from metaft.validate import require_count


@dataclass(frozen=True)
class Prompt(SoftPrompt):
    """Virtual words whose vectors are learned stand before every text, or before and behind it.

    Lester et al. 2021, "The power of scale for parameter-efficient prompt tuning", §2. They have places like other
    words, and count neither in the text's vector nor in the scores of `words`. They stand before [CLS], and behind the
    last [SEP], where texts have those; words behind a text stand before its padding, and in its last segment.

    made_by (Liu et al. 2021, "GPT understands, too", §3.2): the vectors are what a small network makes of vectors drawn
    from N(0, 1). "lstm" is an LSTM of two layers in both directions and two Linear layers with ReLU between; "mlp" is
    three Linear layers. Their words stand where a pattern has them; here before the text or around it.

    Args:
        length: how many words; those of the text, or 20, if None.
        where: "before" the text; or "around" it, the second half behind its last word.
        start: what vectors begin as: "vocabulary", those of drawn words; "normal", numbers with the vocabulary's mean
            and deviation; "text", the words of a text. The last with a text, else the first.
        text: an English prompt to begin from; around a text it holds {} in that text's place.
        frequent: from how many words is drawn, those with the lowest numbers, which are the most frequent ones in most
            vocabularies of pieces; all if None.
        made_by: "none", or the small network that makes the vectors, "lstm" or "mlp".
        hidden: its width; that of a vector if None, and half of it for an LSTM's state.

    Raises:
        MetaftError: if there is no word, or options do not go together.
    """

    made_by: MadeBy = "none"
    hidden: int | None = None
    name: ClassVar[str] = "prompt"
    usual: ClassVar[int] = 20  # more gain little (ibid., §3.2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.made_by not in ("none", "lstm", "mlp"):
            raise MetaftError(f"prompt: made_by = {self.made_by}: should be 'none', 'lstm' or 'mlp'")
        if self.hidden is not None:
            require_count(self.hidden, "hidden", 1)
        if self.made_by == "none" and self.hidden is not None:
            raise MetaftError("prompt: hidden is the width of a network that makes it; add made_by=lstm or made_by=mlp")
        begun = {"start": self.start, "text": self.text, "frequent": self.frequent}
        told = [name for name, value in begun.items() if value is not None]
        if self.made_by != "none" and told:
            raise MetaftError(f"prompt: with made_by={self.made_by} a network makes the vectors; leave {told[0]} out")

    def vectors(self, first: int, count: int, start: WordStart) -> WordVectors:
        """Parameters, or what a network makes."""
        if self.made_by == "none":
            return PromptVectors(first, count, start)
        return MadeVectors(first, count, self.made_by, self.hidden)


@dataclass(frozen=True)
class PromptVectors(WordVectors):
    """Vectors that begin as words do.

    Args:
        first: the number of the first virtual word.
        count: how many there are.
        start: what they begin as.
    """

    start: WordStart
    word_by_word: ClassVar[bool] = True

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """``vectors [count, width]``."""
        return {"vectors": self.start.draw(layer, draw)}


@dataclass(frozen=True)
class MadeVectors(WordVectors):
    """Vectors that a small network makes.

    Args:
        first: the number of the first virtual word.
        count: how many there are.
        made_by: which network.
        hidden: its width; None for the default.
    """

    made_by: MadeBy
    hidden: int | None
    word_by_word: ClassVar[bool] = True

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """``vectors [count, width]``, which the network is given, and its weights."""
        width = matrix(layer).shape[-1]
        given = torch.randn(self.count, width, generator=draw)
        if self.made_by == "lstm":
            return {"vectors": given} | create_lstm(width, self.hidden or max(width // 2, 1), draw)
        hidden = self.hidden or width
        return {"vectors": given} | create_layers((width, hidden, hidden, width), draw)

    def vectors(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """What the network makes."""
        return self.learned(own)

    def learned(self, own: Params) -> Tensor:
        """Likewise."""
        given = own["vectors"]
        return layers(own, lstm(own, given) if self.made_by == "lstm" else given)
