"""What a language model says, for people to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metaft.data.texts.labelled_texts import PADDING
from metaft.tasks.batch import IGNORE

if TYPE_CHECKING:
    from metaft.language.passages import Passages

PASSAGES, BEGINNING, MORE, CHOICES = 4, 16, 48, 40
"""How many passages are shown, how many words of them are given, how many are said, and of how many likeliest."""


def filled(learner: Any, passages: Passages, device: torch.device) -> str:
    """Masked words as a learner fills them in.

    Args:
        learner: of masked words.
        passages: the first of them are shown.
        device: where it computes.

    Returns:
        A passage a line; ``{said|truth}`` stands for a word that is said wrong, ``{said}`` for one that is right.
    """
    batch, words = passages.batch(0, PASSAGES), passages.corpus.tokenizer.words
    said = learner.curve(batch.to(device))[0].argmax(-1).cpu()
    lines = []
    for row, truth, answer in zip(batch.query_x.tolist(), batch.query_y.tolist(), said.tolist(), strict=True):
        shown = [_told(words, *place) for place in zip(row, truth, answer, strict=True) if place[0] != PADDING]
        lines.append(" ".join(shown).replace(" ##", ""))
    return "\n\n".join(lines)


def _told(words: tuple[str, ...], here: int, truth: int, said: int) -> str:
    if truth == IGNORE:
        return words[here]
    return f"{{{words[said]}}}" if said == truth else f"{{{words[said]}|{words[truth]}}}"


def continued(learner: Any, passages: Passages, device: torch.device) -> str:
    """Beginnings of passages as a learner goes on with them, each next word drawn among the likeliest.

    Args:
        learner: of next words.
        passages: the first of them are begun with.
        device: where it computes.

    Returns:
        A passage a paragraph; what was said begins behind ``|``.
    """
    batch, own = passages.batch(0, PASSAGES), passages.corpus.tokenizer
    given = batch.query_x[:, : min(BEGINNING, passages.length - 1)]
    ids = generated(learner.trained(), given.to(device), min(MORE, passages.length - given.shape[1])).cpu().tolist()
    size = given.shape[1]
    return "\n\n".join(f"{own.decode(row[:size])} | {own.decode(row[size:])}" for row in ids)


@torch.no_grad()
def generated(model: Any, ids: Tensor, more: int, choices: int = CHOICES, seed: int = 0) -> Tensor:
    """Texts that go on, word by word.

    Args:
        model: a causal language model in evaluation mode, ``ids → (scores, …)``.
        ids: ``int64 [texts, places]``, without padding.
        more: how many words are said.
        choices: each is drawn among so many likeliest (Fan et al. 2018, §5); 1 takes the likeliest.
        seed: of the draws.

    Returns:
        ``int64 [texts, places + more]``.
    """
    draw = torch.Generator(ids.device).manual_seed(seed)
    for _ in range(more):
        scores, words = model(ids)[0][:, -1].float().topk(choices)
        pick = torch.multinomial(scores.softmax(-1), 1, generator=draw)
        ids = torch.cat([ids, words.gather(1, pick)], dim=1)
    return ids
