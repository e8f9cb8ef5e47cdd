"""Prompts: demonstrations and an input, written by a pattern, and scored by a causal model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from metaft.data.texts.labelled_texts import Text, parts_of
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.prompting.continuations import branches, numbers
from metaft.prompting.log_probability import common_length, log_probabilities
from metaft.prompting.pattern import ANSWER, Pattern, filled

Direction = Literal["direct", "channel"]
Score = Literal["sum", "mean"]
Demonstration = tuple[Text, str]
"""An input, and the words of its class."""


@dataclass(frozen=True)
class Prompter:
    """A model, and how it is asked.

    Args:
        model: causal, in evaluation mode; says words (see `log_probabilities`).
        tokenizer: of its words.
        pattern: how inputs and answers are written.
        direction: "direct", how probable an answer is behind its input; or "channel", how probable the input is behind
            the answer (Min et al. 2022).
        score: of an answer, or an input, of several words: the "sum" of their log-probabilities, or their "mean".

    Raises:
        MetaftError: if the pattern has no form for the channel.
    """

    model: Any
    tokenizer: Tokenizer
    pattern: Pattern
    direction: Direction = "direct"
    score: Score = "sum"

    def __post_init__(self) -> None:
        if self.direction == "channel" and not self.pattern.channel:
            raise MetaftError(f"pattern {self.pattern.name!r} has no form for the channel; take direction=direct")

    def head(self, demonstrations: Sequence[Demonstration]) -> str:
        """What all inputs stand behind: the instruction and the demonstrations.

        Args:
            demonstrations: in order.
        """
        written = [filled(self.template, self.pattern.fields(text, answer)) for text, answer in demonstrations]
        pieces = [self.pattern.instruction, *written] if self.pattern.instruction else written
        return "".join(piece + self.pattern.between for piece in pieces)

    def scores(
        self, demonstrations: Sequence[Demonstration], queries: Sequence[Text], words: Sequence[Sequence[str]]
    ) -> Tensor:
        """How well each class answers each query.

        Args:
            demonstrations: in order.
            queries: inputs.
            words: of each class those that stand for it; the probability of any of them counts.

        Returns:
            Log-probabilities, ``float64 [queries, classes]``.

        Raises:
            MetaftError: if a prompt is longer than the model has places, cut or not.
        """
        return self._behind([self.head(demonstrations)] * len(queries), queries, words)

    def scores_each(
        self,
        shown: Sequence[Sequence[Demonstration]],
        queries: Sequence[Text],
        words: Sequence[Sequence[str]],
    ) -> Tensor:
        """As `scores`, each query behind demonstrations of its own; those of several queries are read once.

        Args:
            shown: the demonstrations of each query, in order.
            queries: inputs.
            words: of each class.

        Returns:
            Log-probabilities, ``float64 [queries, classes]``.

        Raises:
            MetaftError: as `scores`.
        """
        written = {one: self.head(one) for one in dict.fromkeys(map(tuple, shown))}
        heads = [written[tuple(one)] for one in shown]
        of_head: dict[str, list[int]] = {}
        for i, head in enumerate(heads):
            of_head.setdefault(head, []).append(i)
        together, alone = list[list[int]](), list[int]()
        for places in of_head.values():
            if len(places) == 1 and self.direction == "direct":
                alone += places  # nothing to share: they fill one pass
            else:
                together.append(places)
        found = torch.zeros(len(queries), len(words), dtype=torch.float64)
        for places in [*together, alone] if alone else together:
            found[places] = self._behind([heads[i] for i in places], [queries[i] for i in places], words)
        return found

    def _behind(self, heads: Sequence[str], queries: Sequence[Text], words: Sequence[Sequence[str]]) -> Tensor:
        flat = [word for own in words for word in own]
        if self.direction == "channel":
            found = self._channel(heads, queries, flat)
        else:
            asked = [head + self.pattern.asked(query) for head, query in zip(heads, queries, strict=True)]
            found = self._scored([(text, flat) for text in asked])
        ends = torch.tensor([len(own) for own in words]).cumsum(0).tolist()
        begins = [0, *ends]
        return torch.stack([found[:, b:e].logsumexp(-1) for b, e in zip(begins, ends, strict=False)], dim=-1)

    def prior(self, words: Sequence[Sequence[str]]) -> Tensor:
        """How probable each class is behind the end of the pattern alone, ``float64 [classes]``."""
        end = self.pattern.asked(("", "") if self.pattern.takes_pairs else "").rpartition("\n")[2]
        flat = [word for own in words for word in own]
        found = self._scored([(end, flat)])[0]
        return torch.stack([part.logsumexp(0) for part in found.split([len(own) for own in words])])

    def _channel(self, heads: Sequence[str], queries: Sequence[Text], words: Sequence[str]) -> Tensor:
        """``[queries, words]``: log p(input | answer), the answers' prompts being read once for all inputs."""
        asked = []
        for word in words:
            for head, query in zip(heads, queries, strict=True):
                fields = self.pattern.fields(query, word)
                whole = filled(self.pattern.channel, fields)
                empty = filled(self.pattern.channel, {**dict.fromkeys(fields, ""), ANSWER: word})
                begin = whole[: common_length([empty, whole])]
                asked.append((head + begin, [whole[len(begin) :]]))
        return self._scored(asked).reshape(len(words), len(queries)).T

    def _scored(self, asked: Sequence[tuple[str, Sequence[str]]]) -> Tensor:
        """Log-probabilities of continuations of texts, ``[texts, continuations]``; as many behind each text."""
        pairs = branches(self.tokenizer, asked)
        found = log_probabilities(self.model, pairs)
        if self.score == "mean":
            found = found / torch.tensor([max(len(continuation), 1) for _, continuation in pairs])
        return found.reshape(len(asked), -1)

    def fitted(
        self, demonstrations: Sequence[Demonstration], queries: Sequence[Text], words: Sequence[Sequence[str]]
    ) -> tuple[list[Demonstration], list[Text], int]:
        """Inputs, cut so that the longest prompt is not longer than the model has places.

        The longest texts are cut first, demonstrations and queries alike, from behind; the pattern never.

        Args:
            demonstrations: in order.
            queries: inputs.
            words: of each class.

        Returns:
            Demonstrations and queries, and how many texts were cut.

        Raises:
            MetaftError: if the pattern and its demonstrations are too long without any text.
        """
        places = getattr(self.model, "places", None)
        if places is None or not queries:
            return list(demonstrations), list(queries), 0
        flat = [word for own in words for word in own]
        pieces = dict(zip(flat, map(len, numbers(self.tokenizer, flat)), strict=True))
        longest = sorted(flat, key=lambda word: pieces[word])[-3:]  # by pieces: a short word may have many

        def length(most: int) -> int:
            shown = [(shortened(text, most), answer) for text, answer in demonstrations]
            cut = sorted((shortened(query, most) for query in queries), key=lambda text: len("".join(parts_of(text))))
            head = self.head(shown)
            written = [
                head + filled(self.template, self.pattern.fields(text, word)) for text in cut[-3:] for word in longest
            ]
            return max(map(len, numbers(self.tokenizer, written)))

        every = [text for text, _ in demonstrations] + list(queries)
        most = max(len(part.split()) for text in every for part in parts_of(text))
        if length(most) <= places:
            return list(demonstrations), list(queries), 0
        most = largest(lambda most: length(most) <= places, most)
        if most < 1:
            raise MetaftError(
                f"a prompt of {len(demonstrations)} demonstrations is longer than the {places} places that this model "
                "has, with one word of each text; take fewer shots"
            )
        cut = sum(shortened(text, most) != text for text in every)
        shown = [(shortened(text, most), answer) for text, answer in demonstrations]
        return shown, [shortened(query, most) for query in queries], cut

    @property
    def template(self) -> str:
        """How an input and its answer are written, in this direction."""
        return self.pattern.channel if self.direction == "channel" else self.pattern.text


def shortened(text: Text, most: int) -> Text:
    """A text without the words behind the first so many; of a pair each."""
    if isinstance(text, tuple):
        first, second = (_first(part, most) for part in text)
        return first, second
    return _first(text, most)


def _first(text: str, most: int) -> str:
    words = text.split()
    return text if len(words) <= most else " ".join(words[:most])


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number below ``most`` that fits, by halving; 0 if none does."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
