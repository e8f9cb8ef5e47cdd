"""Which of many answers is the likeliest, without scoring all of them to their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from metaft.models.kv_cache import KVCache, read_on
from metaft.prompting.log_probability import Ids, common_length, log_probabilities

AT_ONCE = 6
"""Answers to a text that are scored in the first turn; in each further one twice as many."""
TEXTS = 32


def likeliest(model: Any, asked: Sequence[tuple[Ids, Sequence[Ids]]]) -> Tensor:
    """The answer with the highest log-probability, exactly.

    An answer is no likelier than its first piece. So one is scored to its end only while its first piece is likelier
    than the best whole answer.

    Args:
        model: as for `log_probabilities`.
        asked: texts, each with its answers, of one piece at least.

    Returns:
        ``int64 [texts]``, the number of an answer; the first of equals.
    """
    bounds = log_probabilities(model, [(text, one[:1]) for text, answers in asked for one in answers])
    whole, found = bounds.split([len(answers) for _, answers in asked]), torch.zeros(len(asked), dtype=torch.long)
    scores = [own.clone() for own in whole]
    ready = [torch.tensor([len(one) == 1 for one in answers]) for _, answers in asked]
    todo, at_once = list(range(len(asked))), AT_ONCE
    while todo:
        turn: list[tuple[int, int]] = []
        for number in todo:
            best = scores[number][ready[number]].max() if ready[number].any() else torch.tensor(-torch.inf)
            open_ = ((~ready[number]) & (scores[number] >= best)).nonzero()[:, 0]
            order = scores[number][open_].argsort(descending=True, stable=True)[:at_once]
            turn += [(number, int(answer)) for answer in open_[order]]
        pairs = [(asked[number][0], asked[number][1][answer]) for number, answer in turn]
        for (number, answer), value in zip(turn, log_probabilities(model, pairs), strict=True):
            scores[number][answer], ready[number][answer] = value, True
        todo, at_once = sorted({number for number, _ in turn}), 2 * at_once
    for number, (own, done) in enumerate(zip(scores, ready, strict=True)):
        found[number] = own.where(done, -torch.inf).argmax()
    return found


@torch.no_grad()
def leads(model: Any, pairs: Sequence[tuple[Ids, Ids]]) -> Tensor:
    """Whether a model that takes the likeliest word each time goes on with just that continuation.

    Args:
        model: as for `log_probabilities`.
        pairs: a context and a continuation, of one word at least each.

    Returns:
        ``bool [pairs]``.
    """
    device = next(model.parameters()).device
    contexts = [context for context, _ in pairs]
    shared = min(common_length(contexts), min(map(len, contexts)) - 1)
    before = read_on(model, torch.tensor([contexts[0][:shared]], device=device))[1] if shared else KVCache()
    found = []
    for begin in range(0, len(pairs), TEXTS):
        for_each = [
            (context[shared:] + behind[:-1], len(context) - shared - 1, behind)
            for context, behind in pairs[begin : begin + TEXTS]
        ]
        ids = pad_sequence([torch.tensor(text, device=device) for text, _, _ in for_each], batch_first=True)
        states, _ = read_on(model, ids, before)
        for own, (_, first, behind) in zip(states, for_each, strict=True):
            said = model.word_scores(own[first : first + len(behind)]).argmax(-1)
            found.append(said.tolist() == list(behind))
    return torch.tensor(found)
