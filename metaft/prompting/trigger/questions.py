"""Prompts with a trigger in them, as numbers, and how far a model is from answering them rightly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metaft.data.texts.labelled_texts import Text
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError, nearest
from metaft.prompting.continuations import branches, numbers
from metaft.prompting.log_probability import Ids
from metaft.prompting.pattern import Pattern, filled

PLACE = "{trigger}"
Loss = Literal["answer", "classes"]
LOSSES = ("answer", "classes")


@dataclass(frozen=True)
class Question:
    """A prompt, and what may stand behind it.

    Args:
        context: the prompt's numbers.
        begin: the place of the trigger's first word in it.
        answers: the numbers of each continuation.
        right: which of them are right.
    """

    context: Ids
    begin: int
    answers: tuple[Ids, ...]
    right: tuple[int, ...]

    @property
    def pairs(self) -> list[tuple[Ids, Ids]]:
        """The prompt with each continuation."""
        return [(self.context, answer) for answer in self.answers]


@dataclass(frozen=True)
class Questions:
    """Inputs with their right answers, in a template with a place for the trigger.

    Args:
        tokenizer: of the model's words.
        template: a pattern's text with ``{trigger}``, as in ``"{text} {trigger} {answer}"``.
        examples: inputs, each with the number of its class.
        words: of each class those that stand for it; any of them is right.
        loss: "answer", −log p(right words), over whole answers by teacher forcing (Shin et al. 2020, eq. 1); or
            "classes", the same among the words of all classes.

    Raises:
        MetaftError: if the template has not one place for the trigger before the answer, there is no example, or one
            is of a class without words.
    """

    tokenizer: Tokenizer
    template: str
    examples: tuple[tuple[Text, int], ...]
    words: tuple[tuple[str, ...], ...]
    loss: Loss = "answer"

    def __post_init__(self) -> None:
        pattern = with_trigger(self.template, "")
        if self.loss not in LOSSES:
            raise MetaftError(f"unknown loss {self.loss!r}{nearest(self.loss, LOSSES)}; known: {', '.join(LOSSES)}")
        if not self.examples:
            raise MetaftError("no examples are given to search a trigger on; give some, with their classes")
        for text, label in self.examples:
            pattern.asked(text)  # refuses inputs of another kind
            if not 0 <= label < len(self.words) or not self.words[label]:
                raise MetaftError(f"an example is of class {label}, which has no words; there are {len(self.words)}")

    def asked(self, trigger: Ids, which: Sequence[int] | None = None) -> list[Question] | None:
        """The prompts with a trigger, if it can be typed: if the written prompts are read as just its words again.

        Args:
            trigger: numbers of its words.
            which: numbers of the examples; all if None.

        Returns:
            A question for each; None if a prompt is read otherwise.
        """
        text = written(self.tokenizer, trigger)
        if not text:
            return None
        some = self.examples if which is None else [self.examples[number] for number in which]
        pattern = with_trigger(self.template, text)
        before = self.template.partition(PLACE)[0]
        heads = numbers(self.tokenizer, [filled(before, pattern.fields(text)).rstrip(" ") for text, _ in some])
        told = [(pattern.asked(text), self._words(label)) for text, label in some]
        pairs = iter(branches(self.tokenizer, told))
        special = set(self.tokenizer.specials.tolist())
        found = []
        for head, (_, label), (_, own) in zip(heads, some, told, strict=True):
            split = [next(pairs) for _ in own]
            context = split[0][0]
            # Nothing before it but, perhaps, a special word that every text begins with.
            begin = len(head) or next((at for at, number in enumerate(context) if number not in special), 0)
            if (head and context[:begin] != head) or context[begin : begin + len(trigger)] != trigger:
                return None
            if not all(answer for _, answer in split):
                return None
            found.append(Question(context, begin, tuple(answer for _, answer in split), self._right(label)))
        return found

    def losses(self, scores: Tensor, questions: Sequence[Question]) -> Tensor:
        """The loss of each question.

        Args:
            scores: log-probabilities of all their continuations, in order.
            questions: as `asked` gives them.

        Returns:
            ``[questions]``.
        """
        found = []
        for question, own in zip(questions, scores.split([len(one.answers) for one in questions]), strict=True):
            right = own[list(question.right)].logsumexp(0)
            found.append((own.logsumexp(0) if self.loss == "classes" else 0) - right)
        return torch.stack(found)

    def _words(self, label: int) -> list[str]:
        return [word for own in self.words for word in own] if self.loss == "classes" else list(self.words[label])

    def _right(self, label: int) -> tuple[int, ...]:
        first = sum(len(own) for own in self.words[:label]) if self.loss == "classes" else 0
        return tuple(range(first, first + len(self.words[label])))


def with_trigger(template: str, trigger: str) -> Pattern:
    """A pattern in which a trigger stands.

    Args:
        template: a pattern's text with ``{trigger}``.
        trigger: a text.

    Returns:
        The pattern, whose text has the trigger in that place.

    Raises:
        MetaftError: if the template has not one place for it before the answer, or is no pattern otherwise.
    """
    if template.count(PLACE) != 1 or "{" + PLACE in template:
        raise MetaftError(f"template {template!r} needs one place {PLACE}, as in '{{text}} {PLACE} {{answer}}'")
    return Pattern(template.replace(PLACE, trigger.replace("{", "{{").replace("}", "}}")))


def written(tokenizer: Tokenizer, trigger: Ids) -> str:
    """A trigger as a text, without the spaces around it, which the template has."""
    return tokenizer.decode(trigger).strip(" ")
