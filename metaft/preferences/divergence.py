"""How far a policy has gone from another, on answers that it draws itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from metaft.language.chat import Ids
from metaft.language.sampling import sampled
from metaft.preferences.examples import padded
from metaft.preferences.policy import Params, Policy, portions


@torch.no_grad()
def divergence(
    policy: Policy,
    params: Params,
    reference: Params,
    prompts: Sequence[Ids],
    *,
    words: int,
    ends: Collection[int],
    vocabulary: int,
    seed: int = 0,
) -> Tensor:
    """log π/π_ref of an answer to each prompt, drawn from π: its mean is KL(π ‖ π_ref) of answers, in nats.

    Args:
        policy: the network.
        params: of π.
        reference: of π_ref.
        prompts: as numbers, each with room for an answer.
        words: of an answer, at most.
        ends: numbers that end it.
        vocabulary: numbers below this are words.
        seed: of the answers.

    Returns:
        ``[prompts]``.
    """
    with policy.holding(params) as model:
        said = sampled(model, prompts, words=words, ends=ends, seed=seed, vocabulary=vocabulary).texts()
    texts = list(zip(prompts, said, strict=True))
    ids, asked = padded(texts, max(len(prompt) + len(answer) for prompt, answer in texts))
    found = torch.empty(len(texts), dtype=torch.float64)
    for rows, places in portions(ids):
        part = ids[rows, :places], asked[rows, :places]
        found[rows] = sum(
            sign * policy.log_probabilities(own, *part).sum(-1).double() for sign, own in ((1, params), (-1, reference))
        )
    return found
