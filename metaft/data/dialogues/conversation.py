"""What a model is tuned by: an answer to a prompt, or two answers of which people like one better."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """What one side says.

    Args:
        role: who speaks.
        text: what is said, without the space around it.
    """

    role: Role
    text: str = field(repr=False)


Prompt = tuple[Turn, ...]
"""All that is said before an answer; the last turn is the user's."""


@dataclass(frozen=True)
class Instruction:
    """A prompt and the answer to learn.

    Args:
        prompt: one turn, or several.
        answer: what the assistant says next.
    """

    prompt: Prompt
    answer: str = field(repr=False)


@dataclass(frozen=True)
class Preference:
    """A prompt and two answers.

    Args:
        prompt: one turn, or several.
        chosen: the better answer.
        rejected: the other.
        probability: that ``chosen`` is the better one, where somebody or a model was not sure; None for plainly so.
    """

    prompt: Prompt
    chosen: str = field(repr=False)
    rejected: str = field(repr=False)
    probability: float | None = None

    @property
    def likelier_first(self) -> tuple[str, str, float]:
        """Both answers, the one that is likelier the better first, and the probability that it is."""
        p = 1.0 if self.probability is None else self.probability
        return (self.chosen, self.rejected, p) if p >= 0.5 else (self.rejected, self.chosen, 1 - p)


Example = Instruction | Preference


def digest(examples: Iterable[Example | Prompt]) -> str:
    """A fingerprint of examples or prompts: two that agree hold the same texts in the same order.

    Args:
        examples: of any kind.

    Returns:
        64 hexadecimal digits.
    """
    total = hashlib.sha256()
    for one in examples:
        prompt = one.prompt if isinstance(one, Instruction | Preference) else one
        said = [(turn.role, turn.text) for turn in prompt]
        names = ("answer", "chosen", "rejected", "probability")
        plain = [said, *(held for name in names if (held := getattr(one, name, None)) is not None)]
        total.update(json.dumps(plain, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return total.hexdigest()
