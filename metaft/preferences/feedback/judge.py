"""A model as a judge of two answers, asked in both orders (Zheng et al. 2023, §3.4; Lee et al. 2023, §2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metaft.data.dialogues.conversation import Prompt, Turn
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.language.chat import each_numbers
from metaft.language.chat_model import ChatModel
from metaft.preferences.feedback.principle import Principle
from metaft.prompting.log_probability import Ids, common_length, log_probabilities

Pair = tuple[Prompt, str, str]
"""A prompt and two answers."""
LETTERS = (" A", " B")
LEAD = "The better answer is answer"
"""What the judge's own turn begins with; one of the letters goes on."""
SPEAKERS = {"system": "System", "user": "User", "assistant": "Assistant"}
FEWEST = 16
"""Words of a dialogue and of each answer that there has to be room for."""


@dataclass(frozen=True)
class Verdicts:
    """What a judge thinks of pairs.

    Args:
        first: ``float64 [pairs, principles, 2]``: the probability that the first answer is the better one, where it
            stands first and where it stands second.
        letters: ``float64 [pairs]``: how probable it is that the judge names one of both answers at all.
        cut: how many pairs were too long, and were cut.
    """

    first: Tensor
    letters: Tensor
    cut: int = 0

    @property
    def preference(self) -> Tensor:
        """``[pairs]``: the probability that the first answer is the better one; what the place does has cancelled."""
        return self.first.mean((1, 2))

    @property
    def first_place(self) -> Tensor:
        """``[pairs, principles, 2]``: the probability of the answer that stands first, in both orders."""
        return torch.stack([self.first[..., 0], 1 - self.first[..., 1]], -1)

    @classmethod
    def joined(cls, parts: Sequence[Verdicts]) -> Verdicts:
        """Those of several portions of pairs, in order."""
        return cls(
            torch.cat([part.first for part in parts]), torch.cat([part.letters for part in parts]),
            sum(part.cut for part in parts),
        )  # fmt: skip


@dataclass(frozen=True)
class Judge:
    """Says how probable it is that the first of two answers is the better one.

    The probability is that of one letter among both, behind `LEAD`; the mean is taken over both orders, and over
    principles.

    Args:
        chat: the model.
        principles: what it judges by.
        length: words of a question to it, at most; of longer ones the answers' ends and the dialogue's beginning are
            cut, the longest of the three first.
    """

    chat: ChatModel
    principles: tuple[Principle, ...]
    length: int = 1024

    def __call__(self, pairs: Sequence[Pair]) -> Verdicts:
        """Judge pairs.

        Args:
            pairs: prompts with two answers each.

        Returns:
            The verdicts.

        Raises:
            MetaftError: if there is no room for a question, or the template cannot write it.
        """
        said, cut = list[Tensor](), 0
        for prompt, one, other in pairs:
            asked: list[tuple[Ids, Ids]] = []
            shortened = False
            for principle in self.principles:
                for first, second in ((one, other), (other, one)):
                    branches, shorter = self.question(principle, prompt, first, second)
                    asked, shortened = asked + branches, shortened or shorter
            # Those of one pair together: what they begin with, the dialogue at least, is read once.
            said.append(log_probabilities(self.chat.model, asked).view(len(self.principles), 2, 2))
            cut += shortened
        both = torch.stack(said) if said else torch.zeros(0, len(self.principles), 2, 2, dtype=torch.float64)
        place = both.softmax(-1)  # [..., order, letter]
        wins = torch.stack([place[..., 0, 0], place[..., 1, 1]], -1)
        return Verdicts(wins, both.exp().sum(-1).mean((1, 2)), cut)

    def question(
        self, principle: Principle, prompt: Prompt, first: str, second: str
    ) -> tuple[list[tuple[Ids, Ids]], bool]:
        """What the judge is asked, as numbers, and the two letters behind it.

        Args:
            principle: to judge by.
            prompt: what is answered.
            first: the answer that stands first.
            second: the other.

        Returns:
            For each letter what stands before it, and itself; and whether something was cut.

        Raises:
            MetaftError: if there is no room.
        """
        own, most = self.chat.tokenizer, self.length if self.chat.places is None else min(self.length, self.chat.places)
        parts = (spoken(prompt), first, second)
        lengths = [len(ids) for ids in each_numbers(parts, own)]
        found = self._branches(principle, parts)
        room, shorter = sum(lengths), False
        while (over := max(len(before) + len(behind) for before, behind in found) - most) > 0:
            room, shorter = room - over, True
            level = water_level(lengths, room)
            if level < FEWEST:
                raise MetaftError(f"length = {most}: a judge's question needs more words; give a larger --length")
            ends = (-level, level, level)
            found = self._branches(principle, [shortened(*one, own) for one in zip(parts, ends, strict=True)])
        return found, shorter

    def _branches(self, principle: Principle, parts: Sequence[str]) -> list[tuple[Ids, Ids]]:
        text = self.chat.template.rendered((Turn("user", written(principle, *parts)),), opened=True)
        text += LEAD if text[-1:].isspace() or not text else f" {LEAD}"
        before, *both = each_numbers([text, *(text + letter for letter in LETTERS)], self.chat.tokenizer)
        place = common_length([before, *both])
        return [(ids[:place], ids[place:]) for ids in both]


def written(principle: Principle, dialogue: str, first: str, second: str) -> str:
    """The judge's question.

    Args:
        principle: to judge by.
        dialogue: what is answered, as one text.
        first: the answer called A.
        second: the one called B.
    """
    return (
        f"Two answers to the last turn of a dialogue are to be compared. {principle.principle}\n\n"
        f"Dialogue:\n{dialogue}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}\n\n"
        f"{principle.question} Reply with the letter A or B."
    )


def spoken(prompt: Prompt) -> str:
    """A dialogue as one text, a paragraph a turn."""
    return "\n\n".join(f"{SPEAKERS[turn.role]}: {turn.text}" for turn in prompt)


def water_level(lengths: Sequence[int], room: int) -> int:
    """The most that each of some lengths may be so that together they fit; the shorter ones stay whole.

    Args:
        lengths: of the parts.
        room: for all.
    """
    rest, left = sorted(lengths), room
    for number, length in enumerate(rest):
        share = left // (len(rest) - number)
        if length > share:
            return max(share, 0)
        left -= length
    return rest[-1]


def shortened(text: str, words: int, tokenizer: Tokenizer) -> str:
    """The first words of a text, or its last.

    Args:
        text: some text.
        words: how many; below 0 they are the last ones.
        tokenizer: of the words.
    """
    (ids,) = each_numbers([text], tokenizer)
    if len(ids) <= abs(words):
        return text
    return tokenizer.decode(ids[:words] if words >= 0 else ids[words:]).strip()
