"""A small causal network with a tokenizer of its own, in float64."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from metaft.data.texts.tokenizer import Tokenizer, trained
from metaft.models import build

SENTENCES = [
    f"{who} {does} the {what}."
    for who in ("A dog", "The king", "My neighbour")
    for does in ("likes", "has seen", "sells")
    for what in ("red house", "old car", "answer", "sentiment of a review")
]


@lru_cache(maxsize=1)
def words() -> Tokenizer:
    """Pairs of bytes, of which nothing is lost."""
    return trained(SENTENCES, 330, "bpe")


def network(places: int = 200) -> Any:
    """In the shape of a GPT, its weights large enough that words differ."""
    own = words()
    model: Any = build("transformer", outputs=2, seed=0, shape="gpt", layers=2, width=16, heads=2,
                       vocabulary=own.vocabulary, places=places)  # fmt: skip
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(8)
    model.tokenizer = own
    return model.double().eval()


def probability(model: Any, ids: list[int], begin: int) -> float:
    """Σ log p of a text's words from one on, by one pass over all of it."""
    with torch.no_grad():
        said = model.words(torch.tensor([ids]))[0].log_softmax(-1)
    return sum(float(said[i - 1, ids[i]]) for i in range(begin, len(ids)))
