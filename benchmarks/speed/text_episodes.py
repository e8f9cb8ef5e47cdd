"""The episode row of texts: tasks a second on one core, from packed words to padded support and query sets."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.speed.clock import Entrant
from benchmarks.speed.row import US, Prepared, Row
from metaft.data.texts.labelled_texts import PADDING, LabelledTokens
from metaft.tasks import episodes
from metaft.tasks.episodes import Episodes

PLAIN = "plain loop"
WAYS, SHOTS, QUERIES, TASKS = 5, 1, 15, 32


def prepare(name: str, quick: bool) -> Prepared:
    """The built-in intents, their training domains, words by the default tokenizer."""
    family = episodes("intents", ways=WAYS, shots=SHOTS, queries=QUERIES, split="train")
    if name == US:
        count = itertools.count()
        return Prepared(Entrant(lambda: family.batch(next(count), TASKS), units=TASKS, threads=1))
    return Prepared(Entrant(plain(family), units=1, threads=1))


def plain(family: Episodes) -> Callable[[], tuple[Tensor, ...]]:
    """The loop that one writes without a library: Python's own sampling, lists of words, torch's padding.

    Args:
        family: metaft's episodes, for their texts.

    Returns:
        A call that samples one task.
    """
    tokens = family.images
    assert isinstance(tokens, LabelledTokens)
    bounds = tokens.offsets.tolist()
    texts = [tokens.ids[a:b].long() for a, b in itertools.pairwise(bounds)]
    classes = [texts[a : a + n] for a, n in zip(tokens.starts.tolist(), tokens.counts.tolist(), strict=True)]
    draw = random.Random(0)
    labels = torch.arange(WAYS)

    def sample() -> tuple[Tensor, ...]:
        chosen = [draw.sample(own, SHOTS + QUERIES) for own in draw.sample(classes, WAYS)]
        by_shot = [own[shot] for shot in range(SHOTS + QUERIES) for own in chosen]
        x = pad_sequence(by_shot, batch_first=True, padding_value=PADDING)
        first = WAYS * SHOTS
        return x[:first], labels.repeat(SHOTS), x[first:], labels.repeat(QUERIES)

    return sample


ROWS = {
    "text-episodes": Row("Episodes of texts, 5-way 1-shot, 15 queries, intents (CLINC150), one core", "task",
                         (US, PLAIN), prepare, rivals=(PLAIN,), target_per_second=10_000)
}  # fmt: skip
