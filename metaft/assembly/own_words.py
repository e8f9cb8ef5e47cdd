"""Tasks in the words of a learner's own network: networks of several tokenizers are compared on the same texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.assembly.words import tokens_of
from metaft.data.notes import counted, say
from metaft.data.texts import tokenizer
from metaft.data.texts.labelled_texts import LabelledTexts, LabelledTokens, Text, parts_of
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.learners.learner import Learner, Predictor
from metaft.prompting.pattern import Pattern
from metaft.prompting.prompt import largest, shortened
from metaft.prompting.text_lookup import TextLookup
from metaft.tasks.batch import TaskBatch
from metaft.tasks.family import TaskFamily


def in_words_of(family: TaskFamily, own: Tokenizer, most: int | None, pattern: Pattern | None = None) -> TaskFamily:
    """The same tasks in the words of another tokenizer.

    Args:
        family: of texts that are known.
        own: the tokenizer.
        most: how many words a text may have; None for any number.
        pattern: how texts are written, up to where the answer begins; as they are if None. It is never cut.

    Returns:
        The family; itself where nothing changes, or it has no texts.

    Raises:
        MetaftError: if the pattern does not take such texts, or is too long without one.
    """
    tokens = tokens_of(family)
    if tokens is None or not tokens.texts or (tokens.words == own.digest and pattern is None):
        return family
    said = tokens.texts if pattern is None else written(tokens.texts, own, most, pattern)
    texts = LabelledTexts(said, tuple(tokens.counts.tolist()), tokens.names, tokens.groups, tokens.shared)
    made: Any = family
    found: TaskFamily = dataclasses.replace(made, images=tokenizer.tokenised(texts, own, most))
    return found


def written(texts: Sequence[Text], own: Tokenizer, most: int | None, pattern: Pattern) -> tuple[str, ...]:
    """Texts in the pattern; of one that is too long the words of the input are left out from behind.

    Args:
        texts: inputs.
        own: the tokenizer.
        most: how many words one may have; None for any number.
        pattern: how they are written, up to where the answer begins.

    Returns:
        What is written.

    Raises:
        MetaftError: as `in_words_of`.
    """
    found = [pattern.prompt(text) for text in texts]
    if most is None:
        return tuple(found)
    length = lambda said: int(own.encode([said])[1][-1])
    spelled = lambda said: len(said.encode()) + len(own.specials)  # there are no more words than that
    long = [place for place, said in enumerate(found) if spelled(said) > most and length(said) > most]
    for place in long:
        fits = lambda count, text=texts[place]: length(pattern.prompt(shortened(text, count))) <= most
        kept = largest(fits, max(len(part.split()) for part in parts_of(texts[place])))
        if kept < 1:
            raise MetaftError(
                f"pattern {pattern.name or pattern.text!r} with one word of a text is longer than the {most} places "
                "that this model has; take a shorter one"
            )
        found[place] = pattern.prompt(shortened(texts[place], kept))
    if long:
        say(f"{counted(len(long), 'text')} of {len(texts):,} cut within the pattern: there are {most} places")
    return tuple(found)


def open_ended(family: TaskFamily, own: Tokenizer) -> TaskFamily:
    """The same tasks without the special words that texts end with: the answer goes on behind the last one.

    Args:
        family: of texts, in the words of the tokenizer.
        own: the tokenizer.

    Returns:
        The family; itself where no text ends with such a word.
    """
    tokens = tokens_of(family)
    open_tokens = None if tokens is None else without_ends(tokens, own)
    if open_tokens is tokens:
        return family
    made: Any = family
    found: TaskFamily = dataclasses.replace(made, images=open_tokens)
    return found


def without_ends(tokens: LabelledTokens, own: Tokenizer) -> LabelledTokens:
    """Texts without the special words that they end with.

    Args:
        tokens: the texts.
        own: their tokenizer.

    Returns:
        The same, or those given where no text ends so.
    """
    begins, lengths = tokens.offsets[:-1], tokens.lengths.clone()
    while (ends := torch.isin(tokens.ids[begins + lengths - 1], own.specials) & (lengths > 1)).any():
        lengths -= ends.long()
    if torch.equal(lengths, tokens.lengths):
        return tokens
    kept = torch.repeat_interleave(lengths, tokens.lengths)  # of its text, for each word
    place = torch.arange(len(tokens.ids)) - torch.repeat_interleave(begins, tokens.lengths)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return dataclasses.replace(tokens, ids=tokens.ids[place < kept], offsets=offsets)


class OwnWords:
    """A learner that is given tasks in the words of another tokenizer than its network's.

    Args:
        learner: reads its own words.
        lookup: from the tasks' numbers to their texts.
        own: the same texts in the learner's words.
    """

    def __init__(self, learner: Learner, lookup: TextLookup, own: LabelledTokens) -> None:
        self.learner, self._lookup, self._own = learner, lookup, own

    def __getattr__(self, name: str) -> Any:
        if name in ("learner", "_lookup", "_own"):  # not there yet, while it is copied
            raise AttributeError(name)
        return getattr(self.learner, name)

    @property
    def name(self) -> str:
        """The learner's, as all that is not about words."""
        return self.learner.name

    @property
    def params(self) -> dict[str, Tensor]:
        """Likewise."""
        return self.learner.params

    @property
    def transductive(self) -> bool:
        """Likewise."""
        return self.learner.transductive

    def describe(self) -> dict[str, object]:
        """Likewise."""
        return self.learner.describe()

    def reworded(self, ids: Tensor) -> Tensor:
        """Texts in the learner's words.

        Args:
            ids: ``int64 [tasks, examples, places]`` in those of the tasks, or ``[…, 2, places]``, 0 for padding.

        Returns:
            Likewise, of its places.
        """
        rows = [found[0] for found in self._lookup.rows(ids.flatten(0, -2))]
        return self._own.take(torch.tensor(rows)).unflatten(0, ids.shape[:-1]).to(ids.device)

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """The learner's, see `metaft.learners.learner.Learner`."""
        answer = self.learner.adapt(self.reworded(support_x), support_y)
        return lambda query_x: answer(self.reworded(query_x))

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """The learner's, see `metaft.learners.learner.Learner`."""
        return self.learner.curve(self._batch(batch), steps)

    def _batch(self, batch: TaskBatch) -> TaskBatch:
        x = self.reworded(torch.cat([batch.support_x, batch.query_x], dim=1))  # one length, as both are given together
        support, query = x.tensor_split([batch.support_x.shape[1]], dim=1)
        return dataclasses.replace(batch, support_x=support.contiguous(), query_x=query.contiguous())
