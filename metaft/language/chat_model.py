"""A model that answers in a dialogue: a network, its tokenizer and its chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from metaft.data.dialogues.conversation import Prompt, Turn
from metaft.data.texts.labelled_texts import PADDING
from metaft.data.texts.tokenizer import Tokenizer
from metaft.language.chat import ChatTemplate, Ids
from metaft.language.sampling import sampled
from metaft.prompting.log_probability import log_probabilities


def ends_of(chat: ChatTemplate, tokenizer: Tokenizer) -> tuple[int, ...]:
    """What ends an answer: the template's own mark, if it is a word, and the end of texts.

    Args:
        chat: the template.
        tokenizer: gives the numbers.
    """
    marked = chat.parts((Turn("user", "A"),), "A", tokenizer)[1]
    plain = tokenizer.pieces(["A"])[0].tolist()
    return tuple({tokenizer.bounds()[1], *(marked[-1:] if marked[-1] not in plain else ())} - {PADDING})


def fitted_pair(
    chat: ChatTemplate, prompt: Prompt, answers: tuple[str, str], tokenizer: Tokenizer, length: int
) -> tuple[list[tuple[Ids, Ids]], bool]:
    """Two answers behind the same prompt: what is cut of it is cut for the longer answer.

    Args:
        chat: the template.
        prompt: what is said.
        answers: both.
        tokenizer: gives the numbers.
        length: the most numbers that a prompt and its answer may have.

    Returns:
        The numbers of the prompt and of each answer; and whether something was cut.

    Raises:
        MetaftError: as `metaft.language.chat.ChatTemplate.fitted`.
    """
    parts = [chat.parts(prompt, answer, tokenizer)[1] for answer in answers]
    longest = max(range(2), key=lambda i: len(parts[i]))
    fits = chat.fitted(prompt, answers[longest], tokenizer, length)
    cut = bool(fits.turns or fits.prompt_words or fits.answer_words)
    return [(fits.prompt, answer[: length - len(fits.prompt)]) for answer in parts], cut


@dataclass(frozen=True)
class ChatModel:
    """Answers prompts, and says how probable answers are.

    Args:
        name: what it was asked for as.
        model: a causal network in evaluation mode with ``last_states(ids)`` and ``word_scores(states)``.
        tokenizer: of its words.
        template: writes turns as a text.
        places: how many words it reads at most; None for any number.
    """

    name: str
    model: Any = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)
    template: ChatTemplate = field(repr=False)
    places: int | None = None

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Words that end an answer."""
        return ends_of(self.template, self.tokenizer)

    def opened(self, prompt: Prompt, words: int, length: int | None = None) -> Ids | None:
        """A prompt's numbers, if there is room behind it.

        Args:
            prompt: what is said.
            words: that an answer may have.
            length: words of both, at most, beside what the network can read.

        Returns:
            The numbers; None if it is too long.
        """
        ids = self.template.opened(prompt, self.tokenizer)
        most = min((n for n in (length, self.places) if n is not None), default=None)
        return ids if most is None or len(ids) + words <= most else None

    def answers(
        self, prompts: Sequence[Ids], *, words: int, temperature: float, seed: int, numbers: Sequence[int]
    ) -> list[str]:
        """An answer to each prompt, drawn.

        Args:
            prompts: as `opened` gives them.
            words: how many an answer has at most.
            temperature: scores are divided by it.
            seed: of the draws.
            numbers: of the prompts, as for `metaft.language.sampling.sampled`.

        Returns:
            The answers, perhaps empty ones, without the space around them.
        """
        if not prompts:
            return []
        said = sampled(
            self.model, prompts, words=words, ends=self.ends, temperature=temperature, seed=seed, numbers=numbers,
            vocabulary=self.tokenizer.vocabulary,
        )  # fmt: skip
        return [
            self.tokenizer.decode([word for word in text if word not in self.ends]).strip() for text in said.texts()
        ]

    def likelihoods(self, texts: Sequence[tuple[Ids, Ids]]) -> list[float]:
        """log p of each answer behind its prompt.

        Args:
            texts: prompts and answers, as the template's ``parts`` and ``fitted`` give them.
        """
        return [float(value) for value in log_probabilities(self.model, texts)]
