"""What a network says of words, as a pure function of its parameters."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.inner.rules import Params
from metaft.models.functional import Functional

SAYS_WORDS = "says_words"
"""Attribute of a network: whether it has a method ``words(ids) → scores [examples, places, vocabulary]``."""


def require_goes_on(model: nn.Module, whose: str) -> None:
    """Refuse a network that does not go on with a text.

    Args:
        model: the network.
        whose: who asks, for the message.

    Raises:
        MetaftError: if it reads in both directions, or says no words.
    """
    if not (getattr(model, "causal", False) and getattr(model, SAYS_WORDS, False)):
        raise MetaftError(
            f"this {type(model).__name__} does not go on with a text; {whose} needs a network that reads in one "
            "direction and says words, such as backbone=hf:smollm2, stories260k, or a run of metaft pretrain "
            "--objective causal"
        )


def words_of(model: nn.Module) -> WordsOf | None:
    """What a network says of words.

    Args:
        model: the network; copied when it is first asked.

    Returns:
        ``words(params, ids) → scores [examples, places, vocabulary]``; None if it says none.
    """
    return WordsOf(model) if getattr(model, SAYS_WORDS, False) else None


class WordsOf:
    """Scores of words as a function of a network's parameters, in evaluation mode.

    Args:
        model: the network; copied when it is first asked.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._made: Functional | None = None

    def __call__(self, params: Params, ids: Tensor) -> Tensor:
        """Scores.

        Args:
            params: of the network, by name; its head's may be another one's.
            ids: ``int64 [examples, places]``, 0 for padding.

        Returns:
            ``[examples, places, vocabulary]``.
        """
        if self._made is None:
            self._made = Functional(_Words(self._model))
        return self._made({f"model.{name}": value for name, value in params.items()}, ids)


class _Words(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.model.words(ids)
        return found
