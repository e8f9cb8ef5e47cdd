"""What an answer is worth: by a reward model, or by a function of the user's own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.plugins import call
from metaft.preferences.examples import Ids, padded
from metaft.preferences.policy import portions

Text = tuple[Ids, Ids]
"""A prompt and its answer, as numbers of words."""


class Scorer(Protocol):
    """Says what answers are worth."""

    def __call__(self, texts: Sequence[Text]) -> Tensor:
        """Scores.

        Args:
            texts: prompts with their answers.

        Returns:
            ``float32 [texts]``.
        """
        ...


@dataclass(frozen=True)
class OwnReward:
    """A function of the user's: ``reward(prompt, answer) -> float``, or of many, ``reward(prompts, answers) -> list``.

    Args:
        path: its import path, for messages.
        function: itself; many are given at once if its first parameter is called ``prompts``.
        tokenizer: turns words into text.
        marks: numbers that are left out, such as what ends an answer.
    """

    path: str
    function: Callable[..., Any]
    tokenizer: Tokenizer
    marks: frozenset[int] = frozenset()

    def __call__(self, texts: Sequence[Text]) -> Tensor:
        """As `Scorer`.

        Raises:
            MetaftError: if the function fails, or does not give a finite number for each answer.
        """
        said = [[self._text(one) for one in side] for side in zip(*texts, strict=True)]
        many = next(iter(inspect.signature(self.function).parameters), "") == "prompts"
        one_by_one = lambda: [self.function(prompt, answer) for prompt, answer in zip(*said, strict=True)]
        found = call(self.path, (lambda: self.function(*said)) if many else one_by_one, {})
        values = list(found) if isinstance(found, Sequence | Tensor) and not isinstance(found, str) else [found]
        if len(values) != len(texts):
            raise MetaftError(f"{self.path} gave {len(values)} scores for {len(texts)} answers; expected one each")
        for value in values:
            if isinstance(value, bool) or not _is_finite(value):
                raise MetaftError(f"{self.path} gave {str(value)[:60]!r} for an answer; expected a finite number")
        return torch.tensor([float(value) for value in values])

    def _text(self, ids: Ids) -> str:
        return self.tokenizer.decode([word for word in ids if word not in self.marks]).strip()


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(float(value)) and not isinstance(value, str)
    except (TypeError, ValueError):
        return False


@dataclass(frozen=True)
class RewardModel:
    """A network whose head says what a text is worth.

    Args:
        model: in evaluation mode, of the policy's words.
    """

    model: Any

    @torch.no_grad()
    def __call__(self, texts: Sequence[Text]) -> Tensor:
        """As `Scorer`."""
        device = next(self.model.parameters()).device
        ids = padded(texts, max(len(prompt) + len(answer) for prompt, answer in texts))[0].to(device)
        found = torch.empty(len(texts), device=device)
        for rows, places in portions(ids):
            found[rows] = self.model(ids[rows, :places]).squeeze(-1).float()
        return found
