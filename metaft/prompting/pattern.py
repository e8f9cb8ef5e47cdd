"""A pattern: a text with places for an input and for the answer."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from metaft.data.texts.labelled_texts import Text, parts_of
from metaft.errors import MetaftError, nearest
from metaft.prompting.verbalizer import Verbalizer

ANSWER, TEXT, PAIR = "answer", "text", ("first", "second")
PLACES = (TEXT, *PAIR, ANSWER)


@dataclass(frozen=True)
class Pattern:
    """How an input and its answer are written.

    Args:
        text: with ``{text}``, or ``{first}`` and ``{second}`` for a pair, and ``{answer}`` at its end, as in
            ``"Review: {text}\\nSentiment: {answer}"``.
        channel: the other way about, the answer before the input, for channel scoring (Min et al. 2022): begins with
            or holds ``{answer}``, and ends with the input; empty where there is none.
        instruction: stands before everything; may be empty.
        between: what demonstrations are parted by.
        name: what it is called.
        words: class → the words that stand for it here; those of the data set where it says nothing.

    Raises:
        MetaftError: if a place is missing, stands twice, is unknown, or is not at its end.
    """

    text: str
    channel: str = ""
    instruction: str = ""
    between: str = "\n\n"
    name: str = ""
    words: Verbalizer = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check(self.text, f"pattern {self.name or self.text!r}", ends_with=(ANSWER,))
        if self.channel:
            _check(self.channel, f"channel of pattern {self.name or self.channel!r}", ends_with=(TEXT, PAIR[1]))

    @cached_property
    def takes_pairs(self) -> bool:
        """Whether an input is two texts."""
        return PAIR[0] in _places(self.text)

    def fields(self, text: Text, answer: str = "") -> dict[str, str]:
        """What its places are filled with.

        Args:
            text: an input.
            answer: the answer's words.

        Raises:
            MetaftError: if it asks for a pair and gets one text, or the other way about.
        """
        parts = parts_of(text)
        if (len(parts) == 2) != self.takes_pairs:
            wanted = "{first} and {second}" if len(parts) == 2 else "{text}"
            kind = "pairs of texts" if len(parts) == 2 else "single texts"
            raise MetaftError(f"pattern {self.name or self.text!r}: these inputs are {kind}; it needs {wanted}")
        return dict(zip(PAIR if self.takes_pairs else (TEXT,), parts, strict=True)) | {ANSWER: answer}

    def written(self, text: Text, answer: str) -> str:
        """A demonstration: an input with its answer."""
        return filled(self.text, self.fields(text, answer))

    def asked(self, text: Text) -> str:
        """An input, up to where the answer begins."""
        return filled(self.text.removesuffix(_place(ANSWER)), self.fields(text))


def of_fields(held: Mapping[str, Any]) -> Pattern:
    """A pattern from what ``dataclasses.asdict`` makes of it, read from JSON.

    Args:
        held: field → value.
    """
    return Pattern(**{**held, "words": {name: tuple(words) for name, words in held["words"].items()}})


def filled(template: str, fields: Mapping[str, str]) -> str:
    """A template with its places filled; braces within what fills them mean nothing.

    Args:
        template: with ``{place}``.
        fields: place → text.
    """
    pieces = ((before, fields[name] if name else "") for before, name, _, _ in string.Formatter().parse(template))
    return "".join(before + text for before, text in pieces)


def _place(name: str) -> str:
    return f"{{{name}}}"


def _places(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def _check(template: str, whose: str, ends_with: tuple[str, ...]) -> None:
    try:
        found = _places(template)
    except ValueError as error:
        raise MetaftError(f"{whose}: {error}; a brace that is none is written twice, {{{{ or }}}}") from None
    for name in found:
        if name not in PLACES:
            raise MetaftError(f"{whose} has no place {_place(name)}{nearest(name, PLACES)}")
        if found.count(name) > 1:
            raise MetaftError(f"{whose} has {_place(name)} twice")
    inputs = [name for name in found if name != ANSWER]
    if ANSWER not in found:
        raise MetaftError(f"{whose} has no place for the answer; write {_place(ANSWER)} where it belongs")
    if sorted(inputs) not in ([TEXT], sorted(PAIR)):
        raise MetaftError(f"{whose} needs one place {_place(TEXT)}, or {_place(PAIR[0])} and {_place(PAIR[1])}")
    if found[-1] not in ends_with or not template.endswith(_place(found[-1])):
        raise MetaftError(f"{whose} has to end with {' or '.join(map(_place, ends_with))}")
