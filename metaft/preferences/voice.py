"""What a tuned model says, for people to read: before and after, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from metaft.data.texts.tokenizer import Tokenizer
from metaft.language.sampling import sampled
from metaft.preferences.examples import Ids

SHOWN, WORDS = 3, 40
"""Prompts that are answered, and how many words are said at most."""


@dataclass(frozen=True)
class Voice:
    """Answers in words.

    Args:
        tokenizer: turns numbers into words.
        ends: numbers that end an answer.
    """

    tokenizer: Tokenizer
    ends: frozenset[int] = field(default_factory=frozenset)

    def told(self, learner: Any, prompts: Sequence[Ids], device: torch.device) -> str:
        """The likeliest answers of a learner and of its start.

        Args:
            learner: has a ``policy``, ``params`` and a ``start``.
            prompts: the first different ones are answered.
            device: where it computes.

        Returns:
            A paragraph a prompt: the prompt, what was said before, what is said now.
        """
        first = [list(prompt) for prompt in dict.fromkeys(map(tuple, prompts))][:SHOWN]
        start = {name: value.to(device) for name, value in learner.start.items()}
        both = [self._answers(learner, {**learner.params, **moved}, first) for moved in (start, {})]
        lines = zip(first, *both, strict=True)
        return "\n\n".join(
            f"{self.tokenizer.decode(prompt)}\n  before: {before}\n  now:    {now}" for prompt, before, now in lines
        )

    def _answers(self, learner: Any, params: dict[str, torch.Tensor], prompts: Sequence[Ids]) -> list[str]:
        with learner.policy.holding(params) as model:
            most = getattr(model, "places", None)
            room = WORDS if most is None else min(WORDS, most - max(map(len, prompts)) - 1)
            if room < 1:
                return [""] * len(prompts)
            said = sampled(model, prompts, words=room, ends=self.ends, choices=1, vocabulary=self.tokenizer.vocabulary)
        texts = ([word for word in text if word not in self.ends] for text in said.texts())
        return [" ".join(self.tokenizer.decode(text).split()) for text in texts]
