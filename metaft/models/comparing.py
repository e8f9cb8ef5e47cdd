"""Pairs of examples: the network answers for each by itself, and what counts is the difference.

Bradley & Terry 1952, "Rank analysis of incomplete block designs": P(first is preferred) = σ(r(first) − r(second)).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


def compared(answer: Callable[[Tensor], Tensor], pairs: Tensor) -> Tensor:
    """Answers for the first examples minus those for the second.

    Args:
        answer: ``[examples, *input] → [examples, outputs]``.
        pairs: ``[pairs, 2, *input]``.

    Returns:
        ``[pairs, outputs]``. Of two outputs f, cross-entropy makes the Bradley–Terry model with the reward
        r(x) = f₀(x) − f₁(x): class 0 is "the first is preferred". A bias of the head cancels.
    """
    both = answer(pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2])
    return both[:, 0] - both[:, 1]


def of_texts(answer: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
    """Answers for texts, or for pairs of texts.

    Args:
        answer: ``[texts, places] → [texts, outputs]``.
        ids: ``int64 [texts, places]``, or pairs, ``[pairs, 2, places]``.

    Returns:
        ``[texts, outputs]``, or of pairs as `compared`.
    """
    return answer(ids) if ids.dim() == 2 else compared(answer, ids)


class Comparing(nn.Module):
    """A network of one's own made to read pairs; those of metaft that read texts take pairs of them as they are.

    Args:
        network: answers ``[examples, *input]`` with ``[examples, outputs]``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pairs: Tensor) -> Tensor:
        """``[pairs, 2, *input] → [pairs, outputs]``, see `compared`."""
        return compared(self.network, pairs)
