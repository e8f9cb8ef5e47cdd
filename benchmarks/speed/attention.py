"""The attention rows: a transformer encoder on token sequences, all of it adapting, exact and first-order."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.speed.problem import Problem, random_episodes
from benchmarks.speed.row import gradient_row

WAYS, SHOTS, QUERIES, TOKENS, VOCABULARY = 5, 1, 5, 32, 4096


class Encoder(nn.Module):
    """Token embeddings, torch's own encoder, the mean over tokens, a linear head.

    Args:
        layers: of the encoder.
        width: of a token.
        heads: of each attention.
        vocabulary: how many tokens there are.
    """

    def __init__(self, layers: int = 4, width: int = 256, heads: int = 4, vocabulary: int = VOCABULARY) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, WAYS)

    def forward(self, tokens: Tensor) -> Tensor:
        """``int64 [examples, tokens]`` → ``[examples, 5]``."""
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


def problem(tasks: int = 4, steps: int = 3, first_order: bool = False, **sizes: int) -> Problem:
    """5-way 1-shot, 5 queries a class, 32 tokens, 3 steps of 0.01; 4 layers of width 256 with 4 heads."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = Encoder(**sizes)
    vocabulary = model.embedding.num_embeddings
    batch = random_episodes(tasks, WAYS, SHOTS, QUERIES, (TOKENS,), vocabulary)
    return Problem(model, batch, "classification", lr=0.01, steps=steps, first_order=first_order)


first_order = partial(problem, first_order=True)
"""The same with the inner gradients taken for constants."""
ROWS = {
    "attention": gradient_row("Transformer encoder (4 layers of 256), 32 tokens, 4 tasks, 5 queries, 3 steps", problem,
                              target=2, rate="product"),
    "attention-first-order": gradient_row("The same encoder, first-order", first_order, target=2, rate="product",
                                          first_order=True),
}  # fmt: skip
