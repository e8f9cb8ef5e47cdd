"""Embeddings and bags of them, on words: whole numbers go in."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.any_module.case import Case, Holds, integers

WORDS = integers(0, 7, 4)


class OfWords(nn.Module):
    """An embedding, what is made of it, a hidden layer and a head: ``[examples, 4] → [examples, 2]``."""

    def __init__(self, embed: nn.Module, features: int) -> None:
        super().__init__()
        self.embed, self.hidden, self.head = embed, nn.Linear(features, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.embed(x).flatten(1)).tanh())


class Offsets(nn.Module):
    """A bag on one long list of words and where each example begins in it."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.last = options.get("include_last_offset", False)
        self.bag = nn.EmbeddingBag(7, 3, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.bag(x.flatten(), torch.arange(len(x) + self.last) * x.shape[1])


class Weighted(nn.Module):
    """A bag whose words have weights, which are learned."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.bag, self.weigh = nn.EmbeddingBag(7, 3, mode="sum", **options), nn.Embedding(7, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.bag(x, per_sample_weights=self.weigh(x)[..., 0])


def words(of: str, build, variant: str = "", features: int = 12) -> Case:
    return Case(of, lambda: OfWords(build(), features), variant, x=WORDS)


CASES: list[Case] = [
    words("Embedding", lambda: nn.Embedding(7, 3)),
    words("Embedding", lambda: nn.Embedding(7, 3, padding_idx=0), "padding"),
    words("Embedding", lambda: nn.Embedding(7, 3, scale_grad_by_freq=True), "scaled by frequency"),
    words("Embedding", lambda: nn.Embedding(7, 3, sparse=True), "sparse"),
    words("Embedding", lambda: nn.Embedding(7, 3, max_norm=1.0), "max norm"),
    words("Embedding", lambda: nn.Sequential(nn.Embedding(7, 3), nn.LayerNorm(3)), "under a layer norm"),
    *(words("EmbeddingBag", lambda m=m: nn.EmbeddingBag(7, 3, mode=m), m, 3) for m in ("sum", "mean", "max")),
    *(
        words("EmbeddingBag", lambda m=m: nn.EmbeddingBag(7, 3, mode=m, padding_idx=0), f"{m}, padding", 3)
        for m in ("sum", "mean", "max")
    ),
    *(words("EmbeddingBag", lambda m=m: Offsets(mode=m), f"{m}, offsets", 3) for m in ("sum", "mean", "max")),
    words("EmbeddingBag", lambda: Offsets(mode="mean", include_last_offset=True), "mean, last offset", 3),
    words("EmbeddingBag", Weighted, "weights", 3),
    words("EmbeddingBag", lambda: nn.EmbeddingBag(7, 3, mode="sum", scale_grad_by_freq=True), "scaled by frequency", 3),
    words("EmbeddingBag", lambda: nn.EmbeddingBag(7, 3, mode="sum", sparse=True), "sparse", 3),
    words("EmbeddingBag", lambda: nn.EmbeddingBag(7, 3, max_norm=1.0), "max norm", 3),
    words("F.embedding", lambda: Holds(lambda x, table: F.embedding(x, table), table=(7, 3))),
    words("F.embedding", lambda: Holds(lambda x, table: F.embedding(x, table, padding_idx=1), table=(7, 3)), "padding"),
    words("F.embedding_bag", lambda: Holds(lambda x, table: F.embedding_bag(x, table), table=(7, 3)), "", 3),
    words("F.embedding_bag", lambda: Holds(lambda x, t: F.embedding_bag(x, t, mode="max"), t=(7, 3)), "max", 3),
    words("torch.index_select", lambda: Holds(lambda x, t: t.index_select(0, x.flatten()).view(len(x), 12), t=(7, 3))),
    words("torch.Tensor.index", lambda: Holds(lambda x, table: table[x], table=(7, 3))),
    words("torch.gather", lambda: Holds(lambda x, t: t.expand(len(x), 7).gather(1, x), t=(7,)), "", 4),
]
