"""A corpus as numbers of words: documents one behind the other, and where their sentences end."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metaft.data import cache
from metaft.data.cache import Entry
from metaft.data.texts import corpora, tokenizer
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError

ENDS = (".", "!", "?")
"""A sentence ends with one of these, or with its paragraph."""
TOGETHER = 4096
"""Paragraphs that are turned into numbers at once."""


@dataclass(frozen=True)
class TokenCorpus:
    """Documents as numbers of words, packed one behind the other.

    Args:
        ids: ``int32 [words]``, special words left out.
        offsets: ``int64 [documents + 1]``, where each document begins; the last is where the last one ends.
        ends: ``bool [words]``, whether a sentence or paragraph ends with this word.
        tokenizer: says what the numbers mean.
        name: the corpus's, for the record.
        split: "train" or "val".
        parts: name → how many consecutive documents, of the corpora that it is joined from; empty if it is one.

    Raises:
        MetaftError: if there is no word.
    """

    ids: Tensor = field(repr=False)
    offsets: Tensor = field(repr=False)
    ends: Tensor = field(repr=False)
    tokenizer: Tokenizer
    name: str = "corpus"
    split: str = "train"
    parts: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise MetaftError(f"{self.name} ({self.split}) holds no words")

    @cached_property
    def lengths(self) -> Tensor:
        """``int64 [documents]``: words in each document."""
        return self.offsets.diff()

    @cached_property
    def digest(self) -> str:
        """A short digest of all words, 16 hexadecimal digits."""
        total = hashlib.sha256()
        for part in (self.ids, self.offsets):
            total.update(part.contiguous().numpy().data)
        return total.hexdigest()[:16]

    def describe(self) -> dict[str, object]:
        """What identifies the corpus, JSON-able."""
        return {
            "dataset": self.name,
            "split": self.split,
            "documents": len(self.lengths),
            "corpus_words": len(self.ids),
            "corpus_sha256": self.digest,
            "vocabulary": self.tokenizer.vocabulary,
            "words": self.tokenizer.digest,
            "tokenizer": self.tokenizer.name,
        }


def load(name: str, split: str, asked: str, root: str | Path | None = None) -> TokenCorpus:
    """Read one split of a corpus as numbers of words; made once and kept in the cache.

    Args:
        name: of the corpus, several joined by "+", or a path, see `corpora.load`.
        split: "train" or "val".
        asked: the tokenizer, see `tokenizer.asked`; one that is trained is trained on the training documents.
        root: where files are looked for first.

    Returns:
        The corpus.

    Raises:
        MetaftError: if there is no such corpus or tokenizer.
    """
    parts = _texts(name, split, root)
    documents = list(itertools.chain.from_iterable(parts.values()))
    known: list[str] = []
    if tokenizer.is_trained(asked):
        train = documents if split == "train" else itertools.chain.from_iterable(_texts(name, "train", root).values())
        known = list(itertools.chain.from_iterable(train))
    own = tokenizer.asked(asked, known)
    return tokenised(documents, own, name, split, {part: len(texts) for part, texts in parts.items()})


def tokenised(
    documents: Sequence[Sequence[str]], own: Tokenizer, name: str, split: str = "train",
    parts: Mapping[str, int] | None = None,
) -> TokenCorpus:  # fmt: skip
    """Documents as numbers of words.

    Args:
        documents: the paragraphs of each.
        own: the tokenizer.
        name: the corpus's, for the record.
        split: "train" or "val".
        parts: as for `TokenCorpus`.

    Returns:
        The corpus.
    """
    content = hashlib.sha256(json.dumps(documents).encode()).hexdigest()[:32]
    held = cache.cached(f"corpus-{own.digest}-{content}", lambda: _numbered(documents, own)).tensors
    several = dict(parts) if parts is not None and len(parts) > 1 else {}
    return TokenCorpus(held["ids"], held["offsets"], held["ends"], own, name, split, several)


def _texts(name: str, split: str, root: str | Path | None) -> dict[str, list[tuple[str, ...]]]:
    """The paragraphs of each document, by corpus."""
    return {part: [one.paragraphs for one in corpora.load(part, split, root)] for part in corpora.names(name)}


def _numbered(documents: Sequence[Sequence[str]], own: Tokenizer) -> Entry:
    paragraphs = [
        f"{text}\n" for document in documents for text in document
    ]  # where lines are words, they end with one
    parts = [own.pieces(paragraphs[first : first + TOGETHER]) for first in range(0, len(paragraphs), TOGETHER)]
    ids = torch.cat([part for part, _ in parts]) if parts else torch.empty(0, dtype=torch.int32)
    lengths = torch.cat([offsets.diff() for _, offsets in parts]) if parts else torch.empty(0, dtype=torch.int64)
    ends = torch.from_numpy(np.array([word.endswith(ENDS) for word in own.words]))[ids.long()]
    ends[lengths.cumsum(0)[lengths > 0] - 1] = True
    counts = torch.tensor([len(document) for document in documents], dtype=torch.int64)
    last = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return Entry({"ids": ids, "offsets": last[torch.cat([counts.new_zeros(1), counts.cumsum(0)])], "ends": ends}, ())
