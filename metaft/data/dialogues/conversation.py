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
    """

    prompt: Prompt
    chosen: str = field(repr=False)
    rejected: str = field(repr=False)


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
        plain = [said, *(getattr(one, name) for name in ("answer", "chosen", "rejected") if hasattr(one, name))]
        total.update(json.dumps(plain, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return total.hexdigest()
