"""Log-probabilities of continuations with a gradient: each text is read whole, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from metaft.prompting.log_probability import Ids


def forced(model: Any, pairs: Sequence[tuple[Ids, Ids]]) -> Tensor:
    """Σ log p(word | all words before it) over each continuation, as `log_probabilities`, differentiable.

    Args:
        model: a causal network in evaluation mode with ``last_states(ids)`` and ``word_scores(states)``.
        pairs: a context and a continuation, of one word at least each.

    Returns:
        ``[pairs]``.
    """
    device = next(model.parameters()).device
    ids = pad_sequence([torch.tensor(before + behind, device=device) for before, behind in pairs], batch_first=True)
    begins, ends = (
        torch.tensor(some, device=device)[:, None]
        for some in zip(*((len(before), len(before) + len(behind)) for before, behind in pairs), strict=True)
    )
    places = torch.arange(1, ids.shape[1], device=device)
    asked = (places >= begins) & (places < ends)
    scores = model.word_scores(model.last_states(ids[:, :-1])[asked])
    said = scores.log_softmax(-1).gather(-1, ids[:, 1:][asked].unsqueeze(-1)).squeeze(-1)
    return torch.zeros(len(pairs), dtype=said.dtype, device=device).index_add(0, asked.nonzero()[:, 0], said)
