"""Masked words, and the order of two segments: what BERT and ALBERT learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaft.data.texts.labelled_texts import PADDING
from metaft.language import samples
from metaft.language.corpus import TokenCorpus
from metaft.language.passages import Words, unasked
from metaft.tasks.batch import IGNORE
from metaft.validate import require_fraction

MIDDLE = (0.25, 0.75)
"""Between which shares of a passage its two segments are parted."""


@dataclass(frozen=True, kw_only=True)
class Masked:
    """Some words are hidden, and are to be said (Devlin et al. 2019, §3.1).

    Of the chosen words 80% become ``[MASK]``, 10% another word, 10% stay. Each time a passage is drawn, others are
    chosen (Liu et al. 2019, §4.1).

    Args:
        share: of the words that are chosen, at least one of a passage.
        whole_words: choose all pieces of a word or none.
    """

    share: float = 0.15
    whole_words: bool = False
    causal = False
    order = False
    special = 2

    def __post_init__(self) -> None:
        require_fraction(self.share, "share")

    def asked(self, corpus: TokenCorpus, spans: Tensor, length: int, draw: np.random.Generator) -> Words:
        """As `Asking`: ``[CLS] words [SEP]``, some of the words hidden."""
        ids, order = self.arranged(corpus, spans, length, draw)
        tokenizer = corpus.tokenizer
        chosen = self._chosen(ids, tokenizer.specials, tokenizer.continues, draw)
        kind = torch.from_numpy(draw.random(tuple(ids.shape)))
        others = torch.from_numpy(draw.integers(0, len(tokenizer.ordinary), tuple(ids.shape)))
        hidden = torch.where(kind < 0.8, tokenizer.number("[MASK]"), ids)
        hidden = torch.where(kind >= 0.9, tokenizer.ordinary[others], hidden)
        x, y = torch.where(chosen, hidden, ids), torch.where(chosen, ids, unasked(ids))
        return Words(x[:, :0], y[:, :0], x, y, layout="sequences", order=order)

    def told(self, learner: Any, passages: Any, device: torch.device) -> dict[str, str]:
        """Passages with their hidden words as the learner fills them in."""
        return {"masked words": samples.filled(learner, passages, device)}

    def arranged(
        self, corpus: TokenCorpus, spans: Tensor, length: int, draw: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """One segment a passage.

        Returns:
            ``int64 [passages, length]``, and ``int64 [passages]``, `IGNORE`: no order is asked for.
        """
        sizes = spans[:, 1] - spans[:, 0]
        return _joined(corpus, spans[:, 0], sizes, None, length), torch.full_like(sizes, IGNORE)

    def _chosen(self, ids: Tensor, special: Tensor, continues: Tensor, draw: np.random.Generator) -> Tensor:
        """Which places are asked for, ``bool [passages, places]``: a share of the words of each passage."""
        plain = ~torch.isin(ids, special)
        luck = torch.from_numpy(draw.random(tuple(ids.shape)))
        if self.whole_words:  # all pieces of a word have its first one's luck
            word = (plain & ~continues[ids]).cumsum(1)
            luck = luck.gather(1, word)
        luck = luck.masked_fill(~plain, 2.0)
        most = (self.share * plain.sum(1, keepdim=True)).round().clamp(min=1).long()
        limit = luck.sort(dim=1).values.gather(1, most - 1)
        return (luck <= limit) & plain


@dataclass(frozen=True, kw_only=True)
class MaskedAndOrder(Masked):
    """Some words are hidden; and two consecutive segments stand as they were, or swapped (Lan et al. 2020, §3.1).

    Args:
        share: of the words that are chosen, at least one of a passage.
        whole_words: choose all pieces of a word or none.
    """

    order = True
    special = 3

    def arranged(
        self, corpus: TokenCorpus, spans: Tensor, length: int, draw: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Two segments a passage, ``[CLS] one [SEP] other [SEP]``, parted where a sentence ends if one does.

        Returns:
            ``int64 [passages, length]``, and ``int64 [passages]``: 1 where they are swapped.
        """
        spans = _whole_sentences(corpus, spans)
        sizes = spans[:, 1] - spans[:, 0]
        target = sizes * torch.from_numpy(draw.uniform(*MIDDLE, len(sizes)))
        places = torch.arange(1, length)
        at = (spans[:, :1] + places - 1).clamp(max=len(corpus.ids) - 1)
        low, high = (sizes * share for share in MIDDLE)
        fits = corpus.ends[at] & (places >= low[:, None]) & (places <= high[:, None])
        nearest = (places - target[:, None]).abs().masked_fill(~fits, float("inf"))
        cut = torch.where(fits.any(1), nearest.argmin(1) + 1, target.long().clamp(min=1))
        swapped = torch.from_numpy(draw.integers(0, 2, len(sizes)))
        return _joined(corpus, spans[:, 0], sizes, (cut, swapped), length), swapped


def _whole_sentences(corpus: TokenCorpus, spans: Tensor) -> Tensor:
    """Spans that begin and end with a sentence, where one does within a quarter: torn ends would tell the order.

    Args:
        corpus: holds the words.
        spans: ``int64 [passages, 4]``.

    Returns:
        The same, perhaps shorter.
    """
    first, last, begin, _ = spans.unbind(1)
    sizes = last - first
    places = torch.arange(int(sizes.max()))
    ends = corpus.ends[(first[:, None] + places).clamp(max=len(corpus.ids) - 1)] & (places < sizes[:, None])
    early, late = ends & (places < sizes[:, None] // 4), ends & (places >= 3 * sizes[:, None] // 4)
    begins_one = (first == begin) | corpus.ends[(first - 1).clamp(min=0)]
    skipped = torch.where(early.any(1) & ~begins_one, early.int().argmax(1) + 1, 0)
    kept = torch.where(late.any(1), len(places) - late.flip(1).int().argmax(1), sizes)
    return torch.stack([first + skipped, first + kept, *spans[:, 2:].unbind(1)], dim=1)


def _joined(
    corpus: TokenCorpus, first: Tensor, sizes: Tensor, parted: tuple[Tensor, Tensor] | None, length: int
) -> Tensor:
    """``[CLS] words [SEP]``, or ``[CLS] words [SEP] words [SEP]`` with the second part first where it is swapped."""
    begin, end = corpus.tokenizer.number("[CLS]"), corpus.tokenizer.number("[SEP]")
    place = torch.arange(length) - 1  # of a word, after [CLS]
    first, sizes = first[:, None], sizes[:, None]
    if parted is None:
        source, ends = place.expand(len(first), -1), place == sizes
        past = place > sizes
    else:
        cut, swapped = (value[:, None] for value in parted)
        ahead = torch.where(swapped == 1, sizes - cut, cut)  # words of what stands first
        late = place > ahead
        source = torch.where(late, place - 1, place)
        source = torch.where(swapped == 1, torch.where(late, source - ahead, source + cut), source)
        ends, past = (place == ahead) | (place == sizes + 1), place > sizes + 1
    ids = corpus.ids[(first + source).clamp(0, len(corpus.ids) - 1)].long()
    ids = ids.masked_fill(ends, end).masked_fill(past, PADDING)
    ids[:, 0] = begin
    return ids
