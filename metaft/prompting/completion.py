"""A prompt, what a causal language model says behind it, and how probable given answers are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.language.going_on import next_words
from metaft.prompting.continuations import branches, numbers
from metaft.prompting.log_probability import log_probabilities
from metaft.seeds import require_seed
from metaft.validate import require_count

OPEN = frozenset("\n\t([{<\"'`“‘-–—/\\_=")
"""What no space follows."""


@dataclass(frozen=True)
class Answer:
    """An answer to a prompt.

    Args:
        text: as it was given.
        log_probability: of the whole answer behind the prompt, the sum over its pieces.
        probability: of it among the given answers.
        pieces: of the tokenizer that it has.
    """

    text: str
    log_probability: float
    probability: float
    pieces: int


@dataclass(frozen=True)
class Completion:
    """What a model makes of a prompt.

    Args:
        prompt: that was sent.
        text: that it says behind it; empty if it ends at once.
        pieces: of the tokenizer that the text has.
        answers: in the order given.
        ended: whether it said that the text ends there.
    """

    prompt: str
    text: str
    pieces: int
    answers: tuple[Answer, ...] = ()
    ended: bool = False


def complete(
    model: Any,
    tokenizer: Tokenizer,
    prompt: str,
    answers: Sequence[str] = (),
    words: int = 30,
    choices: int = 1,
    seed: int = 0,
) -> Completion:
    """Go on with a prompt, and hold given answers against each other.

    Spaces at the prompt's end are left off, as tokenizers write them with the word behind. An answer gets one before
    it, unless it begins with a sign or the prompt ends with one that no space follows, such as a line break.

    Args:
        model: a causal network in evaluation mode with ``last_states(ids)`` and ``word_scores(states)``.
        tokenizer: of its words.
        prompt: the text.
        answers: which are scored.
        words: how many pieces of the tokenizer are said, at most; 0 for none. A special word ends it.
        choices: each is drawn among so many likeliest; 1 takes the likeliest.
        seed: of the draws.

    Returns:
        The completion.

    Raises:
        MetaftError: if the prompt is empty, it and what follows are longer than the network has places, an answer is
            empty, or two are equal.
    """
    require_count(words, "words", 0)
    require_count(choices, "choices", 1)
    require_seed(seed)
    given = prompt.rstrip(" ")
    if not given.strip():
        raise MetaftError("the prompt is empty; write something that the model can go on with")
    (ids,) = numbers(tokenizer, [given])
    if not ids:
        raise MetaftError(f"tokenizer {tokenizer.name} finds no word in the prompt {given[:60]!r}; write another")
    asked = _checked(answers)
    pairs = branches(tokenizer, [(given, [_spaced(given, answer) for answer in asked])])
    places = getattr(model, "places", None)
    longest = max([len(ids) + words, *(len(before) + len(behind) for before, behind in pairs)])
    if places is not None and longest > places:
        behind = f"{words} words" if longest == len(ids) + words else f"an answer of {longest - len(ids)}"
        raise MetaftError(
            f"the prompt has {len(ids)} words of the tokenizer, and with {behind} behind it is longer than the "
            f"{places} places that this model has; shorten it"
        )
    special = set(tokenizer.specials.tolist())
    said, ended = list[int](), False
    for number in itertools.islice(next_words(model, ids, choices, seed, tokenizer.vocabulary), words):
        if ended := number in special:
            break
        said.append(number)
    scores = log_probabilities(model, pairs)
    shares = scores.softmax(-1).tolist()
    found = [
        Answer(text, score, share, len(behind))
        for text, score, share, (_, behind) in zip(asked, scores.tolist(), shares, pairs, strict=True)
    ]
    return Completion(given, _text(tokenizer, ids, said), len(said), tuple(found), ended)


def _checked(answers: Sequence[str]) -> list[str]:
    found = [answer.strip(" ") for answer in answers]
    for number, answer in enumerate(found, start=1):
        if not answer.strip():
            raise MetaftError(f"answer {number} of {len(found)} is empty; give its words, or leave it out")
        if answer in found[: number - 1]:
            raise MetaftError(f"answer {answer!r} is given twice; give each once")
    return found


def _spaced(prompt: str, answer: str) -> str:
    return f" {answer}" if prompt[-1] not in OPEN and answer[0].isalnum() else answer


def _text(tokenizer: Tokenizer, ids: Sequence[int], said: Sequence[int]) -> str:
    """What was said, with the space that it begins with: some tokenizers leave it out at a text's beginning."""
    before, whole = tokenizer.decode(ids), tokenizer.decode([*ids, *said])
    return whole[len(before) :] if whole.startswith(before) else tokenizer.decode(said)
