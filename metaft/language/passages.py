"""Passages of a corpus as tasks without support: every place is a query, every word a class."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from metaft import parts
from metaft.distributed.world import ALONE, World
from metaft.errors import MetaftError
from metaft.evaluation.statistics import mean_interval
from metaft.evaluation.validation import Validation
from metaft.language.corpus import TokenCorpus
from metaft.seeds import require_seed
from metaft.tasks import epochs
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.family import Kind
from metaft.tasks.random import generator
from metaft.validate import require_count

TOGETHER = 32
"""Passages that are scored at once."""


@dataclass(frozen=True)
class Words(TaskBatch):
    """Passages with what is asked of them: ``query_x`` are words ``int64 [tasks, places]``, ``query_y`` the words that
    are to be said at each place, ``IGNORE`` where nothing is asked.

    Args:
        order: ``int64 [tasks]``: 1 where two segments are swapped, 0 where they are not, ``IGNORE`` where there is one.
        document: ``int64 [tasks]``: which document each is from; None if nobody says it.
    """

    order: Tensor = field(kw_only=True)
    document: Tensor | None = field(default=None, kw_only=True)

    def to(self, device: torch.device | str) -> Words:
        """The same batch on another device."""
        return self._each(lambda t: t.to(device))

    def __getitem__(self, tasks: slice) -> Words:
        return self._each(lambda t: t[tasks])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Words:
        document = None if self.document is None else change(self.document)
        return Words(*map(change, self.parts()), layout=self.layout, order=change(self.order), document=document)


class Asking(Protocol):
    """What is asked of a passage: a pretraining objective."""

    @property
    def causal(self) -> bool:
        """Whether a place may see only those before it."""
        ...

    @property
    def order(self) -> bool:
        """Whether the order of two segments is asked for."""
        ...

    @property
    def special(self) -> int:
        """How many places of a passage special words take."""
        ...

    def asked(self, corpus: TokenCorpus, spans: Tensor, length: int, draw: np.random.Generator) -> Words:
        """Passages as a network sees them, and what it is asked.

        Args:
            corpus: holds the words.
            spans: ``int64 [passages, 4]``: where each passage and its document begin and end.
            length: places of a passage.
            draw: what is random comes from here.

        Returns:
            The batch.
        """
        ...

    def told(self, learner: Any, passages: Passages, device: torch.device) -> dict[str, str]:
        """What a learner says, for people to read: name → text."""
        ...


class WordScores(Protocol):
    """What a language model gets right, see `metaft.language.learner`."""

    def scores(self, batch: Words) -> dict[str, Tensor]:
        """By passage: ``loss`` (a sum over its words), ``words``, ``right``, ``order`` (nan where it is not asked)."""
        ...


@dataclass(frozen=True)
class Passages:
    """Passages of all documents in a new order every epoch, each beginning somewhere else.

    Args:
        corpus: the documents.
        objective: what is asked of a passage.
        length: places of a passage, special words among them.
        seed: which sequence of passages.

    Raises:
        MetaftError: if the length is too short for anything to be asked.
    """

    corpus: TokenCorpus
    objective: Asking
    length: int = 128
    seed: int = 0
    kind: ClassVar[Kind] = "classification"
    metric: ClassVar[str] = "perplexity"
    counted: ClassVar[str] = "words"
    input_shape: ClassVar[tuple[int, ...]] = ()

    def __post_init__(self) -> None:
        require_seed(self.seed)
        require_count(self.length, "length", self.objective.special + 4)

    def __len__(self) -> int:
        """Passages of an epoch."""
        return len(self._spans)

    @property
    def outputs(self) -> int:
        """One score a word."""
        return self.corpus.tokenizer.vocabulary

    @property
    def each(self) -> int:
        """Places of a passage, which is what speed is counted in."""
        return self.length

    @property
    def split(self) -> str:
        """Of the corpus."""
        return self.corpus.split

    @cached_property
    def _spans(self) -> Tensor:
        """Where each passage and its document begin and end, ``int64 [passages, 4]``: side by side."""
        inner = self.length - self.objective.special
        counts = (-(-self.corpus.lengths // inner)).clamp(min=1) * (self.corpus.lengths > 1)
        document = torch.repeat_interleave(torch.arange(len(counts)), counts)
        if not len(document):
            raise MetaftError(f"{self.corpus.name} ({self.split}) has no document of two words or more")
        place = torch.arange(len(document)) - (counts.cumsum(0) - counts)[document]
        begins, ends = self.corpus.offsets[document], self.corpus.offsets[document + 1]
        first = begins + place * inner
        return torch.stack([first, (first + inner).minimum(ends), begins, ends], dim=1)

    def batch(self, index: int, tasks: int) -> Words:
        """Draw the index-th minibatch; pure in (seed, split, index, tasks).

        Args:
            index: which minibatch.
            tasks: how many passages.

        Returns:
            The passages, without support.
        """
        purpose = f"{Path(self.corpus.name).name}/{self.split}/passages"  # the same wherever a file lies
        count, inner = len(self._spans), self.length - self.objective.special
        rows = epochs.rows(self.seed, purpose, index, tasks, count)
        draw = generator(self.seed, purpose, index)
        spans = self._spans[torch.from_numpy(rows)]
        # A passage begins up to half its length before or after its place, within its document.
        shift = torch.from_numpy(draw.integers(-(inner // 2), inner // 2 + 1, tasks))
        first = (spans[:, 0] + shift).minimum(spans[:, 3] - inner).maximum(spans[:, 2])
        moved = torch.stack([first, (first + inner).minimum(spans[:, 3]), spans[:, 2], spans[:, 3]], dim=1)
        document = torch.searchsorted(self.corpus.offsets, spans[:, 2].contiguous(), right=True) - 1
        return replace(self.objective.asked(self.corpus, moved, self.length, draw), document=document)

    def score(self, learner: WordScores, tasks: int, device: torch.device | str, world: World = ALONE) -> Validation:
        """Perplexity on the first passages, the same ones every time.

        Args:
            learner: the language model.
            tasks: how many passages.
            device: where it computes.
            world: the ranks that share them.

        Returns:
            Perplexity a word, its interval over passages; the share of words, and of orders, that are right; of a
            corpus that is joined from several, the perplexity on each.
        """
        names = ("loss", "words", "right", "order")

        def scored(batch: TaskBatch, first: int) -> Tensor:
            found = learner.scores(batch.to(device))  # type: ignore[arg-type]
            assert isinstance(batch, Words)
            assert batch.document is not None
            return torch.stack([*(found[name].double().cpu() for name in names), batch.document.double()])

        sizes = [min(TOGETHER, tasks - first) for first in range(0, tasks, TOGETHER)]
        whole = (self.batch(i, TOGETHER)[:size] for i, size in enumerate(sizes))
        loss, words, right, order, document = world.map_tasks(scored, whole)
        mean = float(loss.sum() / words.sum())
        # Of a quotient of means, to first order: over passages, whose words are not independent.
        _, ci95 = mean_interval((loss - mean * words) / words.mean())
        perplexity = math.exp(min(mean, 50.0))
        more = {"words_right": float(right.sum() / words.sum())}
        if bool(order.isfinite().any()):
            more["order_right"] = float(order[order.isfinite()].mean())
        last = 0
        for name, documents in self.corpus.parts.items():
            own = (document >= last) & (document < last + documents)
            last += documents
            if bool(own.any()):
                more[f"perplexity_{name}"] = math.exp(min(float(loss[own].sum() / words[own].sum()), 50.0))
        return Validation(mean, perplexity, perplexity * ci95, -perplexity, more)

    @property
    def run_files(self) -> dict[str, str]:
        """What a run keeps beside its weights: the tokenizer."""
        return {"tokenizer.json": self.corpus.tokenizer.text}

    def samples(self, learner: Any, device: torch.device) -> dict[str, str]:
        """What the learner says of the first passages, see `metaft.language.samples`."""
        return self.objective.told(learner, self, device)

    def describe(self) -> dict[str, object]:
        """The settings that identify this family."""
        return {
            **self.corpus.describe(),
            "family": "passages",
            "objective": [type(self.objective).__name__, parts.told(self.objective)],
            "length": self.length,
            "seed": self.seed,
        }


def unasked(ids: Tensor) -> Tensor:
    """Targets of which none is asked for, ``int64`` like the words."""
    return torch.full_like(ids, IGNORE)
