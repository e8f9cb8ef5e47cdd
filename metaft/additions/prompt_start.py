"""What the vectors of a prompt begin as: words of the vocabulary, words like them, or those of a text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from metaft.additions.addition import Addition, Piece
from metaft.additions.linear import matrix
from metaft.additions.virtual_words import Where, WordVectors, add_words, require_input, word_layer
from metaft.data.texts import tokenizer
from metaft.data.texts.labelled_texts import PADDING
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.validate import require_count

Start = Literal["vocabulary", "normal", "text"]
TEXT = "{}"
"""Where the text stands in the words around it."""


@dataclass(frozen=True)
class WordStart:
    """How many words a prompt has, and what their vectors begin as.

    Args:
        ahead: how many words stand before the text.
        behind: how many stand behind it.
        start: "vocabulary", vectors of words that are drawn; "normal", numbers with the mean and deviation that they
            have over the words, place by place in the vector; "text", the vectors of `ids`.
        frequent: from how many words of the vocabulary is drawn, by their number; None for all.
        ids: the numbers of a text's words.
    """

    ahead: int
    behind: int = 0
    start: Start = "vocabulary"
    frequent: int | None = None
    ids: tuple[int, ...] = ()

    def draw(self, layer: nn.Module, draw: torch.Generator, times: int = 1) -> Tensor:
        """The vectors.

        Args:
            layer: that of word vectors.
            draw: where random numbers come from.
            times: for how many prompts.

        Returns:
            ``[times · (ahead + behind), width]``.
        """
        words, count = matrix(layer).detach().cpu(), times * (self.ahead + self.behind)
        if self.start == "text":
            return words[torch.tensor(self.ids)].repeat(times, 1)
        known = words[PADDING + 1 : self.frequent and PADDING + 1 + self.frequent]
        if self.start == "normal":
            mean, deviation = known.mean(0), known.std(0, correction=0)
            return mean + deviation * torch.randn(count, words.shape[-1], generator=draw).to(words)
        if count <= len(known):
            return known[torch.randperm(len(known), generator=draw)[:count]]
        return known[torch.randint(len(known), (count,), generator=draw)]


def check_start(
    length: int | None, where: Where, start: Start | None, text: str | None, frequent: int | None, whose: str
) -> None:
    """Refuse options of a prompt that do not go together; they are those of `word_start`.

    Raises:
        MetaftError: saying which.
    """
    if length is not None:
        require_count(length, f"the length of {whose}", 2 if where == "around" else 1)
    if frequent is not None:
        require_count(frequent, "frequent", 1)
    if where not in ("before", "around"):
        raise MetaftError(f"{whose}: where = {where}: should be 'before' or 'around'")
    if start not in (None, "vocabulary", "normal", "text"):
        raise MetaftError(f"{whose}: start = {start}: should be 'vocabulary', 'normal' or 'text'")
    if (text is not None) != (start == "text") and not (text is not None and start is None):
        how = "no text is given; add text=…" if text is None else "a text is given; leave one of them out"
        raise MetaftError(f"{whose}: start = {start}, and {how}")
    if text is None:
        return
    if length is not None or frequent is not None:
        raise MetaftError(f"{whose}: a text has a length and words of its own; leave length and frequent out")
    wanted = 1 if where == "around" else 0
    if text.count(TEXT) != wanted:
        raise MetaftError(
            f"{whose}: text = {text[:60]!r}: with where={where} it should hold {TEXT} "
            f"{'once, where the text stands' if wanted else 'nowhere; take where=around'}"
        )


def word_start(
    model: nn.Module, length: int, where: Where, start: Start | None, text: str | None, frequent: int | None, whose: str
) -> WordStart:
    """How many words a prompt has on each side, and what they begin as.

    Args:
        model: the network, whose tokenizer reads the text.
        length: how many words, if there is no text.
        where: "before" the text, or "around" it, half of them behind.
        start: see `WordStart`; "text" with a text and "vocabulary" without if None.
        text: words to begin from; ``{}`` is the place of the text if they stand around it.
        frequent: see `WordStart`.
        whose: the addition, for messages.

    Returns:
        Both.

    Raises:
        MetaftError: if the network takes no words in; if its tokenizer is not known, or finds no words in the text; or
            if the vocabulary is smaller than ``frequent``.
    """
    require_input(model, whose)
    known = int(model.get_submodule(word_layer(model, whose)).num_embeddings)  # type: ignore[arg-type]
    if frequent is not None and frequent >= known:
        raise MetaftError(f"{whose}: frequent = {frequent}: the network knows {known - 1} words")
    if text is None:
        behind = length // 2 if where == "around" else 0
        return WordStart(length - behind, behind, start or "vocabulary", frequent)
    ahead, behind_text = (part.strip() if i == 0 else part for i, part in enumerate(f"{text}{TEXT}".split(TEXT)[:2]))
    found = tokenizer_of(model, f"{whose}: text = {text[:60]!r}")
    sides = [_numbers(found, part) for part in (ahead, behind_text)]
    ids = (*sides[0], *sides[1])
    if not ids:
        raise MetaftError(f"{whose}: text = {text!r} holds no words")
    if max(ids) >= known:
        raise MetaftError(f"{whose}: the network's tokenizer {found.name} has numbers beyond its {known} words")
    return WordStart(len(sides[0]), len(sides[1]), "text", None, ids)


@dataclass(frozen=True)
class SoftPrompt(Addition):
    """Virtual words around a text; what gives their vectors is a subclass's `vectors`.

    Args:
        length: how many words; those of the text, or `usual`, if None.
        where: "before" the text; or "around" it, the second half behind its last word.
        start: what vectors begin as, see `WordStart`.
        text: an English prompt to begin from; around a text it holds {} in that text's place.
        frequent: from how many words is drawn; all if None.

    Raises:
        MetaftError: if there is no word, or options do not go together.
    """

    length: int | None = None
    where: Where = "before"
    start: Start | None = None
    text: str | None = None
    frequent: int | None = None
    usual: ClassVar[int]
    silent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_start(self.length, self.where, self.start, self.text, self.frequent, self.name)

    @abstractmethod
    def vectors(self, first: int, count: int, start: WordStart) -> WordVectors:
        """What gives the vectors.

        Args:
            first: the number of the first virtual word.
            count: how many there are.
            start: what they begin as.
        """

    def sites(self, model: nn.Module) -> Mapping[str, Piece]:
        """Where words come in, and their vectors.

        Raises:
            MetaftError: if the network takes no words in, a text cannot be read, or no word looks back at what is
                behind it.
        """
        length = self.length or self.usual
        start = word_start(model, length, self.where, self.start, self.text, self.frequent, self.name)
        return add_words(
            model, start.ahead, start.behind, lambda first, count: self.vectors(first, count, start), self.name
        )


def tokenizer_of(model: nn.Module, whose: str) -> Tokenizer:
    """The tokenizer whose numbers a network reads, as its attribute ``tokenizer`` tells.

    Args:
        model: the network; a pretrained one knows its own, one made for a data set that of the data.
        whose: who asks, for the message.

    Raises:
        MetaftError: if it does not know one.
    """
    told = getattr(model, "tokenizer", None)
    if isinstance(told, str):
        return tokenizer.asked(told, ())
    if isinstance(told, Tokenizer):
        return Tokenizer(told.text, told.name)
    raise MetaftError(
        f"{whose}: this {type(model).__name__} does not know what its numbers stand for; set its attribute tokenizer, "
        "as network.tokenizer = 'hf:minilm' or a metaft.data.texts.tokenizer.Tokenizer"
    )


def _numbers(found: Tokenizer, text: str) -> Sequence[int]:
    return found.pieces([text])[0].tolist() if text.strip() else ()
