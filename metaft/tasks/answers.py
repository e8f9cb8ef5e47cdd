"""What scores of classes say: the class answered, and probabilities. A score of −inf says that a class cannot be."""

from __future__ import annotations

import torch
from torch import Tensor


def answered(scores: Tensor, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The class with the highest score, the lowest label among equals.

    −inf is a score like any other: a class with it is answered only where all allowed ones have it. NaN and +inf
    compare with nothing: scores that hold one are no answer.

    Args:
        scores: ``[..., classes]``.
        allowed: ``bool [..., classes]`` or fewer leading axes, at least one class true: which may be answered; all by
            default.

    Returns:
        ``int64 [...]``, the class answered; ``bool [...]``, where there is no answer, whatever stands in the first.
    """
    none = (scores.isnan() | (scores == torch.inf)).any(-1)
    if allowed is None:
        return scores.argmax(-1), none
    best = scores.masked_fill(~allowed, -torch.inf)
    # Where all that is left is −inf, the highest score is that of classes that are not allowed too.
    first = allowed.expand_as(best).to(torch.uint8).argmax(-1)
    return torch.where(best.amax(-1) == -torch.inf, first, best.argmax(-1)), none


def present(support_y: Tensor, outputs: int) -> Tensor:
    """Which classes have an example in the support set.

    Args:
        support_y: ``int64 [tasks, support]``, padding included.
        outputs: how many classes are told apart.

    Returns:
        ``bool [tasks, outputs]``.
    """
    return (support_y.unsqueeze(-1) == torch.arange(outputs, device=support_y.device)).any(-2)


def log_probabilities(scores: Tensor) -> Tensor:
    """``log_softmax``; scores that are all −inf tell no class from another, so that all are equally likely.

    Args:
        scores: ``[..., classes]``.

    Returns:
        ``[..., classes]``; NaN where there is a NaN or a +inf.
    """
    nothing = (scores == -torch.inf).all(-1, keepdim=True)
    return torch.where(nothing, torch.zeros_like(scores), scores).log_softmax(-1)


def probabilities(scores: Tensor) -> Tensor:
    """``softmax``, likewise."""
    return log_probabilities(scores).exp()
