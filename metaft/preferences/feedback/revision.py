"""Answers that a model criticises by principles and writes anew (Bai et al. 2022, "Constitutional AI", §3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metaft.data.dialogues.conversation import Prompt, Turn
from metaft.elementary import draws
from metaft.language.chat_model import ChatModel
from metaft.preferences.feedback.principle import Principle


@dataclass(frozen=True)
class Step:
    """One round.

    Args:
        principle: what it is called.
        answer: what is criticised.
        critique: what the model says of it.
        revision: the answer written anew.
    """

    principle: str
    answer: str
    critique: str
    revision: str


@dataclass(frozen=True)
class Revised:
    """A prompt, and how its answer came about.

    Args:
        prompt: what is answered.
        steps: a round for each principle, each beginning with what the one before wrote.
    """

    prompt: Prompt
    steps: tuple[Step, ...]

    @property
    def answer(self) -> str:
        """What came of it."""
        return self.steps[-1].revision


@dataclass(frozen=True)
class Reviser:
    """Answers, criticises by a principle, and writes anew; one principle after the other.

    Args:
        chat: the model, which does all three.
        principles: a round for each.
        words: of an answer and of a critique, at most.
        temperature: of all that is drawn.
        seed: of all that is drawn.
        length: words of a dialogue with what is to be written behind it, at most; None for all that the model reads.
    """

    chat: ChatModel
    principles: tuple[Principle, ...]
    words: int = 96
    temperature: float = 0.7
    seed: int = 0
    length: int | None = None

    def __call__(self, prompts: Sequence[Prompt], numbers: Sequence[int]) -> list[Revised | str]:
        """Revise answers to prompts.

        Args:
            prompts: what is answered.
            numbers: of the prompts among all, by which random numbers are drawn.

        Returns:
            For each what came of it, or why nothing did, in words.

        Raises:
            MetaftError: if the template cannot write a dialogue.
        """
        found: list[Revised | str] = ["" for _ in prompts]
        going = list(range(len(prompts)))
        answers = self._said({i: prompts[i] for i in going}, found, numbers, 0)
        steps: dict[int, tuple[Step, ...]] = dict.fromkeys(answers, ())
        for round_, principle in enumerate(self.principles):
            asked = {i: (*prompts[i], Turn("assistant", answers[i]), Turn("user", principle.critique)) for i in answers}
            critiques = self._said(asked, found, numbers, 2 * round_ + 1)
            asked = {
                i: (*asked[i], Turn("assistant", critiques[i]), Turn("user", principle.revision)) for i in critiques
            }
            revisions = self._said(asked, found, numbers, 2 * round_ + 2)
            for i, revision in revisions.items():
                steps[i] = (*steps[i], Step(principle.name, answers[i], critiques[i], revision))
            answers = revisions
        for i in answers:
            found[i] = Revised(prompts[i], steps[i])
        return found

    def _said(
        self, asked: dict[int, Prompt], found: list[Revised | str], numbers: Sequence[int], draw: int
    ) -> dict[int, str]:
        """What is said behind some dialogues; of the others it is noted why they end here."""
        ids = {i: self.chat.opened(prompt, self.words, self.length) for i, prompt in asked.items()}
        short = {i: one for i, one in ids.items() if one is not None}
        said = self.chat.answers(
            list(short.values()), words=self.words, temperature=self.temperature,
            seed=draws.stream(self.seed, draw), numbers=[numbers[i] for i in short],
        )  # fmt: skip
        answers = dict(zip(short, said, strict=True))
        for i in asked:
            if i not in answers:
                found[i] = "leave no room for what is to be written"
            elif not answers[i]:
                found[i] = "were answered with nothing"
        return {i: answer for i, answer in answers.items() if answer}
