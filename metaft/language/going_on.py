"""A text goes on: word by word, what was said before being read once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch

from metaft.data.texts.labelled_texts import PADDING
from metaft.models.kv_cache import KVCache, read_on


@torch.no_grad()
def next_words(
    model: Any, ids: Collection[int], choices: int = 1, seed: int = 0, vocabulary: int | None = None
) -> Iterator[int]:
    """The words behind a text, without end.

    Each is drawn among the likeliest (Fan et al. 2018, §5). What was read is kept (see `metaft.models.kv_cache`), and
    so one word a step is read.

    Args:
        model: a causal network in evaluation mode with ``last_states(ids)`` and ``word_scores(states)``.
        ids: the text, one word at least.
        choices: among so many likeliest; 1 takes the likeliest.
        seed: of the draws.
        vocabulary: numbers below this are words; all that the network scores if None.

    Yields:
        Their numbers; padding is never said.
    """
    device = next(model.parameters()).device
    draw = torch.Generator(device).manual_seed(seed)
    now, before = torch.tensor([list(ids)], device=device), KVCache()
    while True:
        states, before = read_on(model, now, before)
        before = before.joined()
        scores = model.word_scores(states[0, -1]).float()[:vocabulary]
        scores[PADDING] = -torch.inf
        best, words = scores.topk(min(choices, len(scores)))
        now = words[torch.multinomial(best.softmax(-1), 1, generator=draw)][None]
        yield int(now)
