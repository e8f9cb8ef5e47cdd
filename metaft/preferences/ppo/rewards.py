"""What each word earns: a text's score, less the distance to the reference."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from metaft.errors import MetaftError

Estimator = Literal["k1", "k3"]
ESTIMATORS = ("k1", "k3")


def kl_estimates(log_probs: Tensor, reference_log_probs: Tensor, estimator: Estimator = "k1") -> Tensor:
    """One-word estimates of KL(π ‖ π_ref), from a word that π said; both are unbiased (Schulman 2020, "Approximating KL
    divergence").

    Args:
        log_probs: log π of the words.
        reference_log_probs: log π_ref of them, of the same shape.
        estimator: "k1", log π − log π_ref; or "k3", exp(log π_ref − log π) − 1 − (log π_ref − log π), never negative
            and of less variance.

    Returns:
        Nats, of that shape.
    """
    if estimator == "k1":
        return log_probs - reference_log_probs
    if estimator == "k3":
        log_ratio = reference_log_probs - log_probs
        return torch.expm1(log_ratio) - log_ratio
    raise MetaftError(f"unknown estimator {estimator!r} of the divergence; known: {', '.join(ESTIMATORS)}")


def rewards(scores: Tensor, kl: Tensor, mask: Tensor, beta: float) -> Tensor:
    """−β · KL estimate at each word, and the text's score besides at its last (Ziegler et al. 2019, eq. 2).

    With "k1" and no discount the optimum over texts is π ∝ π_ref · exp(score/β). As a reward, "k3" has the same
    expectation but another gradient, as it depends on π itself, and so another optimum.

    Args:
        scores: ``[texts]``.
        kl: ``[texts, places]``, as of `kl_estimates`; what stands at padding is not looked at.
        mask: ``bool [texts, places]``, true at words; padding stands at the end.
        beta: β, in units of the score a nat.

    Returns:
        ``[texts, places]``, 0 at padding.

    Raises:
        MetaftError: if a text has no word that could have its score.
    """
    lengths = mask.sum(-1)
    if not bool((lengths > 0).all()):
        raise MetaftError("an answer has no words, and so none that its score could be given to; leave it out")
    earned = (-beta * kl).masked_fill(~mask, 0)
    return earned.scatter_add(-1, (lengths - 1)[:, None], scores.to(earned.dtype)[:, None])
