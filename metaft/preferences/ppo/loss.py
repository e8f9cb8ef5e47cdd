"""The clipped losses of policy and values, entropy, and what is logged of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Mean = Callable[[Tensor], Tensor]
"""``[texts, places]`` → ``[texts]``: what the mean over texts of is the mean over all words."""


def text_means(mask: Tensor, length: float | Tensor | None = None) -> Mean:
    """A mean over words as a mean over texts, so that chunks and ranks can share the texts.

    Args:
        mask: ``bool [texts, places]``, true at words.
        length: words a text of the whole minibatch, of which these texts may be a part; of these if None.

    Returns:
        The sum over a text's words, divided by that length.
    """
    length = mask.sum().double() / len(mask) if length is None else length
    return lambda values: values.masked_fill(~mask, 0).sum(-1) / length


def policy_loss(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """−min(ρ A, clip(ρ, 1 − ε, 1 + ε) A) with ρ = π(word)/π_old(word) (Schulman et al. 2017, eq. 7).

    Args:
        log_probs: of the words, with a gradient.
        old_log_probs: of the policy that said them, of the same shape.
        advantages: likewise.
        clip: ε.

    Returns:
        The loss of each word; and by name, of each word: ``clipped_share``, 1 where clipping takes the gradient away,
        else 0; and ``approximate_kl``, ρ − 1 − log ρ, an estimate of KL(π_old ‖ π) (Schulman 2020, k3).
    """
    log_ratio = log_probs - old_log_probs
    ratio = log_ratio.exp()
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    log_ratio = log_ratio.detach()
    logged = {
        "clipped_share": (clipped > plain).to(plain.dtype).detach(),
        "approximate_kl": torch.expm1(log_ratio) - log_ratio,
    }
    return torch.maximum(plain, clipped), logged


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, clip: float | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """½ max((V − R)², (V_old + clip(V − V_old, −ε, ε) − R)²), as in Ziegler et al.'s code; ½ (V − R)² without clipping.

    Args:
        values: V, with a gradient.
        old_values: of the rollout, of the same shape.
        returns: R, likewise.
        clip: ε; None for no clipping.

    Returns:
        The loss of each word; and by name, of each word: ``values_clipped_share``, 1 where the clipped value counts.
    """
    plain = (values - returns).square()
    if clip is None:
        return plain / 2, {"values_clipped_share": torch.zeros_like(plain)}
    clipped = (old_values + (values - old_values).clamp(-clip, clip) - returns).square()
    return torch.maximum(plain, clipped) / 2, {"values_clipped_share": (clipped > plain).to(plain.dtype).detach()}


def entropies(log_probs: Tensor) -> Tensor:
    """−Σ p log p of each place's words.

    Args:
        log_probs: ``[..., vocabulary]``.

    Returns:
        Nats, ``[...]``.
    """
    # A word that cannot be said, −∞, adds nothing; 0 · −∞ would be NaN, as would its gradient.
    return -(log_probs.exp() * log_probs.masked_fill(log_probs == -torch.inf, 0)).sum(-1)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 − Var(R − V)/Var(R) over all words: 1 where values say all, 0 or less where a constant says as much.

    Args:
        values: ``[texts, places]``.
        returns: likewise.
        mask: ``bool [texts, places]``, true at words.

    Returns:
        A scalar; NaN where all returns are alike.
    """
    values, returns = values[mask], returns[mask]
    spread = returns.var(correction=0)
    return torch.where(spread > 0, 1 - (returns - values).var(correction=0) / spread, torch.nan)
