"""Whether answers keep to the form of a turn: something is said, it ends, and no other turn is begun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from metaft.data.dialogues.conversation import Turn
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.language.chat import ChatTemplate, Ids, each_numbers
from metaft.language.sampling import sampled
from metaft.preferences.policy import Params, Policy

ANSWERED, WORDS = 64, 96
"""Prompts that are answered, and the most words of an answer."""
_SAID = ("\ue001", "\ue002", "\ue003")
"""Signs that no text has."""


@dataclass(frozen=True)
class TurnForm:
    """What an answer in form looks like.

    Args:
        tokenizer: of the words.
        ends: numbers that end an answer.
        marks: what a template begins turns with, as texts.
    """

    tokenizer: Tokenizer = field(repr=False)
    ends: frozenset[int]
    marks: tuple[str, ...]

    def kept(self, answers: Sequence[Ids]) -> dict[str, Tensor]:
        """What holds of answers.

        Args:
            answers: as numbers, what ends them among these.

        Returns:
            Each ``bool [answers]``: "in form" is "ended", and neither "empty" nor with another "turn" in it; "words" is
            ``float64 [answers]``.
        """
        own = [[word for word in answer if word not in self.ends] for answer in answers]
        said = [self.tokenizer.decode(words) for words in own]
        marked = [ids for ids in each_numbers(self.marks, self.tokenizer) if ids]
        found = {
            "ended": [bool(answer) and answer[-1] in self.ends for answer in answers],
            "empty": [not text.strip() for text in said],
            "turn": [
                any(mark in text for mark in self.marks) or any(_holds(words, ids) for ids in marked)
                for text, words in zip(said, own, strict=True)
            ],
        }
        told = {name: torch.tensor(value, dtype=torch.bool) for name, value in found.items()}
        words = torch.tensor([len(one) for one in own], dtype=torch.float64)
        return {"in form": told["ended"] & ~told["empty"] & ~told["turn"], **told, "words": words}

    @torch.no_grad()
    def of(self, policy: Policy, params: Params, prompts: Sequence[Ids]) -> dict[str, Tensor]:
        """What holds of the likeliest answers to prompts, drawn word by word.

        Args:
            policy: the network.
            params: its parameters.
            prompts: as numbers, each with room for `WORDS`.

        Returns:
            As `kept`.
        """
        with policy.holding(params) as model:
            vocabulary = self.tokenizer.vocabulary
            found = sampled(model, prompts, words=WORDS, ends=self.ends, choices=1, vocabulary=vocabulary)
        return self.kept(found.texts())


def marks_of(chat: ChatTemplate, ends: Sequence[str]) -> tuple[str, ...]:
    """What a template begins turns of the user and of the assistant with.

    Args:
        chat: the template.
        ends: words that end an answer.

    Returns:
        The last line before each that says something, without what ends the turn before; none of a template that only
        breaks lines, or refuses the dialogue.
    """
    user, answer, again = _SAID
    turns = (Turn("user", user), Turn("assistant", answer), Turn("user", again))
    try:
        text = chat.rendered(turns, opened=True)
    except MetaftError:
        return ()
    between = [text.partition(one)[2].partition(other)[0] for one, other in ((answer, again), (user, answer))]
    found = []
    for piece in between:
        for end in filter(None, ends):
            piece = piece.rpartition(end)[2]
        lines = [line.strip() for line in piece.splitlines() if line.strip()]
        found += lines[-1:]
    return tuple(dict.fromkeys(found))


def _holds(words: Sequence[int], part: Ids) -> bool:
    return any(tuple(words[at : at + len(part)]) == part for at in range(len(words) - len(part) + 1))
