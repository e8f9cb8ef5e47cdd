"""Chat templates: how turns are written as one text, and which of its words are an answer's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from metaft.data.dialogues.conversation import Prompt
from metaft.data.texts.tokenizer import Tokenizer

Ids = tuple[int, ...]
Asked = Literal["last", "all"]


@dataclass(frozen=True)
class ChatTemplate:
    """A template of Jinja2, as Hugging Face's.

    Args:
        name: what it was asked for as.
        text: the template.
        begin: what it is told as ``bos_token``.
        end: what it is told as ``eos_token``.
    """

    name: str
    text: str = field(repr=False)
    begin: str = ""
    end: str = ""

    def rendered(self, turns: Prompt, opened: bool = False) -> str:
        """Turns as one text; ``opened`` with what stands before the assistant's next answer."""
        raise NotImplementedError

    def opened(self, prompt: Prompt, tokenizer: Tokenizer) -> Ids:
        """The numbers of a prompt behind which an answer begins."""
        raise NotImplementedError

    def parts(self, prompt: Prompt, answer: str, tokenizer: Tokenizer) -> tuple[Ids, Ids]:
        """The numbers of a prompt, and the answer's own with the mark that ends it."""
        raise NotImplementedError

    def masked(
        self, prompt: Prompt, answer: str, tokenizer: Tokenizer, asked: Asked = "last"
    ) -> tuple[Ids, tuple[bool, ...]]:
        """The numbers of the whole, and which of them the assistant says: in the last answer, or in all of them."""
        raise NotImplementedError

    def fitted(self, prompt: Prompt, answer: str, tokenizer: Tokenizer, length: int) -> Cut:
        """As `parts`, no longer than ``length``: the oldest turns are left out first."""
        raise NotImplementedError


@dataclass(frozen=True)
class Cut:
    """A prompt and an answer that fit, and what was lost.

    Args:
        prompt: its numbers.
        answer: its numbers.
        turns: how many turns were left out.
        prompt_words: how many words of the prompt were cut off (without those of whole turns).
        answer_words: how many of the answer.
    """

    prompt: Ids
    answer: Ids
    turns: int = 0
    prompt_words: int = 0
    answer_words: int = 0


def cut(prompt_ids: Ids, answer_ids: Ids, length: int, head: int = 0) -> Cut:
    """Cut a prompt at its beginning (behind ``head`` words that stay) and an answer at its end."""
    raise NotImplementedError


def template(asked: str | Path | None, model: str, tokenizer: Tokenizer) -> ChatTemplate:
    """The template of a name, a file ``.jinja``, or None for the model's own."""
    raise NotImplementedError
