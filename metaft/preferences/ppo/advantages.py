"""How much better a word was than expected."""

from __future__ import annotations

import torch
from torch import Tensor


def generalised_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16): A_t = Σ_l (γλ)^l δ_{t+l}.

    δ_t = r_t + γ V_{t+1} − V_t (ibid., eq. 10), and V is 0 behind a text's last word, whether the text ended there or
    was cut: its score is given there.

    Args:
        rewards: ``[texts, places]``; what stands at padding is not looked at.
        values: likewise: of the state before each word.
        mask: ``bool [texts, places]``, true at words; padding stands at the end.
        gamma: the discount γ.
        lam: λ; 0 for one step, 1 for the whole text.

    Returns:
        Advantages, and returns A + V, ``[texts, places]`` each, 0 at padding.
    """
    rewards, values = (x.masked_fill(~mask, 0) for x in (rewards, values))
    after = torch.zeros_like(values[:, :0].sum(-1))
    following, found = after, list[Tensor]()
    for reward, value in zip(rewards.flip(-1).unbind(-1), values.flip(-1).unbind(-1), strict=True):
        # At padding both are 0, and so is what they give.
        after = reward + gamma * following - value + gamma * lam * after
        following = value
        found.append(after)
    advantages = torch.stack(found[::-1], dim=-1) if found else torch.zeros_like(values)
    return advantages, (advantages + values).masked_fill(~mask, 0)


def whitened(values: Tensor, mask: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Values with a mean of 0 and a variance of 1 over all real places; padding counts in neither.

    Args:
        values: ``[texts, places]``.
        mask: ``bool [texts, places]``, true at words.
        epsilon: is added to the variance (that of all places, not of all but one).

    Returns:
        ``[texts, places]``, 0 at padding.
    """
    real = values[mask]
    mean = real.mean()
    variance = (real - mean).square().mean()
    return ((values - mean) * (variance + epsilon).rsqrt()).masked_fill(~mask, 0)
