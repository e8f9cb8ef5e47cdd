"""How probable texts are behind others, what they share being read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from metaft.errors import MetaftError
from metaft.models.kv_cache import KVCache, read_on

Ids = tuple[int, ...]
WORDS = 2**10
"""Words in one pass, with their padding: more gain nothing on a CPU, and it bounds memory."""


@torch.no_grad()
def log_probabilities(model: Any, pairs: Sequence[tuple[Ids, Ids]], unscored: Sequence[int] | None = None) -> Tensor:
    """Σ log p(word | all words before it) over each continuation.

    What all contexts begin with is read once, and every context once, however many continuations it has: their keys
    and values are kept (see `metaft.models.kv_cache`).

    Args:
        model: a causal network in evaluation mode with ``last_states(ids)`` and ``word_scores(states)``.
        pairs: a context, of one word at least, and a continuation, perhaps empty.
        unscored: how many words each continuation begins with that are read, and whose probability does not count;
            none if None.

    Returns:
        ``float64 [pairs]``.

    Raises:
        MetaftError: if a context is empty, or a text longer than the network has places.
    """
    contexts = list(dict.fromkeys(context for context, _ in pairs))
    if not contexts:
        return torch.zeros(0, dtype=torch.float64)
    if not all(contexts):
        raise MetaftError("a text that is to be continued has no words; give it some")
    shared = min(common_length(contexts), min(map(len, contexts)) - 1)
    device = next(model.parameters()).device
    rows = lambda texts: pad_sequence([torch.tensor(text, device=device) for text in texts], batch_first=True)
    before = read_on(model, rows([contexts[0][:shared]]))[1] if shared else KVCache()
    of_context: dict[Ids, list[int]] = {}
    for i, (context, continuation) in enumerate(pairs):
        if continuation:
            of_context.setdefault(context, []).append(i)
    found = torch.zeros(len(pairs), dtype=torch.float64)
    left_out = torch.zeros(len(pairs), dtype=torch.long) if unscored is None else torch.tensor(unscored)
    for part in _portions([context[shared:] for context in of_context], list(of_context)):
        states, after = read_on(model, rows([context[shared:] for context in part]), before)
        ends = torch.tensor([len(context) - shared - 1 for context in part], device=device)
        last = states[torch.arange(len(part), device=device), ends]
        here = [(row, i) for row, context in enumerate(part) for i in of_context[context]]
        first = _log_softmax(model.word_scores(last))
        chosen = torch.tensor([[row, pairs[i][1][0]] for row, i in here], device=device)
        told = first[chosen[:, 0], chosen[:, 1]].double().cpu()
        found[[i for _, i in here]] = told.where(left_out[[i for _, i in here]] == 0, 0)
        longer = [(row, i) for row, i in here if len(pairs[i][1]) > 1]
        for some in _portions([pairs[i][1][:-1] for _, i in longer], longer):
            ids = rows([pairs[i][1][:-1] for _, i in some])
            states, _ = read_on(model, ids, after.rows(torch.tensor([row for row, _ in some], device=device)))
            next_ids = rows([pairs[i][1][1:] for _, i in some])
            places = torch.arange(ids.shape[1], device=device)
            ends_here = torch.tensor([[len(pairs[i][1]) - 1] for _, i in some], device=device)
            begins = (left_out[[i for _, i in some]] - 1)[:, None].to(device)
            real = (places < ends_here) & (places >= begins)
            each = _log_softmax(model.word_scores(states[real]))
            said = each.gather(-1, next_ids[real].unsqueeze(-1)).squeeze(-1).double()
            sums = torch.zeros(len(some), dtype=torch.float64, device=device)
            found[[i for _, i in some]] += sums.index_add_(0, real.nonzero()[:, 0], said).cpu()
    return found


def common_length(texts: Sequence[Any]) -> int:
    """How many words, or letters, all texts begin with."""
    first, last = min(texts), max(texts)  # whatever stands between them in order begins alike
    return next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))


def _log_softmax(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).log_softmax(-1)


def _portions(texts: Sequence[Ids], owners: Sequence[Any]) -> list[list[Any]]:
    """The owners of texts of like length together, no more than `WORDS` in a portion."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    found: list[list[Any]] = []
    while order:
        size = max(1, WORDS // max(len(texts[order[0]]), 1))
        found.append([owners[i] for i in order[:size]])
        order = order[size:]
    return found
