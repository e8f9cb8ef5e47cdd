"""The best of several answers: choosing it, what it is worth, and how far from the policy it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.validate import require_count

Sample = TypeVar("Sample")


def best_of(samples: Sequence[Sample], scores: Tensor, n: int) -> list[Sample]:
    """The sample with the highest score among each n that follow one another (Stiennon et al. 2020, §4.3).

    Args:
        samples: the first n are of the first prompt, and so on.
        scores: of each, ``[samples]``.
        n: how many a prompt has.

    Returns:
        One a prompt; the first of equals.

    Raises:
        MetaftError: if there is not a score for each sample, or their number is no multiple of n.
    """
    require_count(n, "n", 1)
    _require_scores(scores)
    if scores.shape != (len(samples),) or len(samples) % n:
        raise MetaftError(
            f"the best of {n} among {len(samples)} samples with scores {list(scores.shape)}: give a score for each "
            f"sample, and a multiple of {n} samples"
        )
    places = scores.reshape(-1, n).argsort(dim=-1, descending=True, stable=True)[:, 0].tolist()
    return [samples[row * n + place] for row, place in enumerate(places)]


def expected_best(scores: Tensor, n: int, values: Tensor | None = None) -> Tensor:
    """What the best of n is worth on average, from N ≥ n samples of one prompt, without bias.

    The mean over all subsets of n samples: the i-th lowest of N is the best of C(i − 1, n − 1) among C(N, n) (Nakano et
    al. 2021, appendix I; Gao et al. 2023, §2).

    Args:
        scores: by which the best is chosen, ``[..., samples]``.
        n: how many are drawn.
        values: what the chosen one is worth, such as another reward model's score, like ``scores``; the scores if None.

    Returns:
        ``[...]``. Of equal scores the first is chosen.

    Raises:
        MetaftError: if there are fewer than n samples, or scores and values do not agree.
    """
    require_count(n, "n", 1)
    _require_scores(scores)
    values = scores if values is None else values
    count = scores.shape[-1] if scores.dim() else 0
    if count < n:
        raise MetaftError(f"the best of {n} cannot be told from {count} samples; draw {n} at least")
    if values.shape != scores.shape:
        raise MetaftError(f"scores are {list(scores.shape)} and values {list(values.shape)}; give one for each sample")
    subsets = math.comb(count, n)
    shares = [math.comb(below, n - 1) / subsets for below in range(count)]
    order = scores.argsort(dim=-1, descending=True, stable=True).flip(-1)
    return (values.gather(-1, order) * torch.tensor(shares, dtype=values.dtype, device=values.device)).sum(-1)


def best_of_kl(n: int) -> float:
    """The divergence of the best of n from the policy that the n are drawn from: log n − (n − 1)/n, in nats.

    Exact where no two samples have one score (Stiennon et al. 2020, appendix G.3), an upper bound elsewhere (Beirami et
    al. 2024, theorem 1).

    Args:
        n: how many are drawn.

    Raises:
        MetaftError: if n is no count.
    """
    require_count(n, "n", 1)
    return math.log(n) - (n - 1) / n


def _require_scores(scores: Tensor) -> None:
    if not scores.is_floating_point() or bool(scores.isnan().any()):
        raise MetaftError("scores have to be numbers with a fraction, none of them NaN, to say which is the best")
