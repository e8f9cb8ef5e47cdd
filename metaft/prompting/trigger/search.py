"""AutoPrompt: words of a trigger are replaced one by one where that makes answers likelier (Shin et al. 2020, §2.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from metaft.data.texts.labelled_texts import Text
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError, nearest
from metaft.prompting.log_probability import Ids, log_probabilities
from metaft.prompting.pattern import Pattern
from metaft.prompting.trigger.gradient import estimates, gradient, word_vectors
from metaft.prompting.trigger.questions import Loss, Question, Questions, with_trigger, written
from metaft.prompting.trigger.vocabulary import Kind, allowed
from metaft.seeds import require_seed
from metaft.tasks.random import generator
from metaft.validate import require_count

Places = Literal["one", "all"]
PLACES = ("one", "all")
LOOKED_AT = 20
"""Times as many candidates as are wanted are looked at for such as can be typed."""
DRAWS = 200


@dataclass(frozen=True)
class Step:
    """One step of a search.

    Args:
        loss: mean over the batch, with the trigger that the step ended with.
        validation: mean over the validation inputs; that of the step before if no word was replaced.
        trigger: as a text.
        replaced: how many of its words were.
        refused: how many candidates could not be typed.
    """

    loss: float
    validation: float
    trigger: str
    replaced: int
    refused: int


@dataclass(frozen=True)
class Trigger:
    """What a search found.

    Args:
        text: that can be typed.
        ids: numbers of its words.
        validation: its mean loss over the validation inputs, the lowest of all steps.
        template: with ``{trigger}``.
        steps: of the search.
    """

    text: str
    ids: Ids
    validation: float
    template: str
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def pattern(self) -> Pattern:
        """The template with the trigger in it."""
        return with_trigger(self.template, self.text)


def search(
    model: Any,
    tokenizer: Tokenizer,
    template: str,
    train: Sequence[tuple[Text, int]],
    validation: Sequence[tuple[Text, int]],
    words: Sequence[Sequence[str]],
    *,
    seed: int,
    length: int = 5,
    start: str | None = None,
    steps: int = 30,
    batch: int = 16,
    candidates: int = 10,
    places: Places = "one",
    loss: Loss = "answer",
    kind: Kind = "printable",
    without: Sequence[str] = (),
    progress: Callable[[int, Step], object] = lambda number, step: None,
) -> Trigger:
    """Search words that make the right answers likely.

    A step draws a batch of training inputs, and takes the gradient of the loss with respect to the vectors of the
    trigger's words. At a place the words by which the loss would fall most, to first order, are candidates. Each is
    scored exactly on the batch; the best replaces the word if the loss falls. A candidate is refused unless the written
    prompts of all training and validation inputs are read as just these words again. Here the candidates are scored on
    the batch of the gradient; the paper's program draws another.

    Args:
        model: a causal network in evaluation mode with ``last_states(ids)`` and ``word_scores(states)``.
        tokenizer: of its words.
        template: a pattern's text with ``{trigger}``, as in ``"{text} {trigger} {answer}"``.
        train: inputs, each with the number of its class.
        validation: other such inputs; by these the best trigger of all steps is chosen.
        words: of each class those that stand for it.
        seed: of what the trigger begins as, of batches, and of places.
        length: how many words it has; a start has its own.
        start: a text to begin from; words that are drawn if None.
        steps: how many.
        batch: inputs of a step.
        candidates: of a place.
        places: "one" is drawn a step; or "all" in turn, each with a gradient of its own.
        loss: see `Questions`.
        kind: of words, see `allowed`.
        without: see `allowed`.
        progress: called after each step with its number, from 1.

    Returns:
        The trigger with the lowest loss over the validation inputs.

    Raises:
        MetaftError: if the template is none, inputs are missing or stand in both, a number is too small, the model does
            not read in one direction, or the start cannot be typed.
    """
    _check(model, length, steps, batch, candidates, places, seed)
    given = Questions(tokenizer, template, (*train, *validation), tuple(map(tuple, words)), loss)
    _check_inputs(train, validation)
    held_out = range(len(train), len(given.examples))
    vectors, may = word_vectors(model), allowed(tokenizer, kind, without)
    may = may[may < len(vectors)]
    now = _started(given, start, length, may, seed)
    best = now, _mean(model, given, now, held_out)
    told: list[Step] = []
    for number in range(1, steps + 1):
        draw = generator(seed, "trigger", number)
        some = draw.permutation(len(train))[:batch].tolist()
        turns = range(len(now)) if places == "all" else [int(draw.integers(len(now)))]
        replaced = refused = 0
        value = math.nan
        for place in turns:
            other, value, failed = better(model, given, now, place, some, vectors, may, candidates)
            replaced, refused, now = replaced + (other != now), refused + failed, other
        held = _mean(model, given, now, held_out) if replaced else (told[-1].validation if told else best[1])
        if held < best[1]:
            best = now, held
        told.append(Step(value, held, written(tokenizer, now), replaced, refused))
        progress(number, told[-1])
    return Trigger(written(tokenizer, best[0]), best[0], best[1], template, tuple(told))


def better(
    model: Any,
    given: Questions,
    trigger: Ids,
    place: int,
    some: Sequence[int],
    vectors: Tensor,
    may: Tensor,
    count: int,
) -> tuple[Ids, float, int]:
    """Replace one word if that makes the loss fall.

    Args:
        model: the network.
        given: the inputs.
        trigger: numbers of its words.
        place: of the word in it.
        some: numbers of the inputs of a batch.
        vectors: of all words.
        may: the words that may stand there.
        count: how many candidates.

    Returns:
        The trigger, its mean loss over the batch, and how many candidates could not be typed.
    """
    questions = given.asked(trigger, some)
    assert questions is not None
    _, slope = gradient(model, questions, given, len(trigger))
    change = estimates(slope, vectors, trigger)[place, may.to(vectors.device)]
    ranked = may[change.argsort()[: LOOKED_AT * count].cpu()].tolist()
    tried, refused = [trigger], 0
    for word in ranked:
        if len(tried) > count:
            break
        other = (*trigger[:place], word, *trigger[place + 1 :])
        if word == trigger[place]:
            continue
        if given.asked(other, some[:1]) is None or given.asked(other) is None:  # one alone tells most, quickly
            refused += 1
        else:
            tried.append(other)
    found = exact(model, given, tried, some, place)
    lowest = int(found.argmin())  # the first of equals: the trigger itself
    return tried[lowest], float(found[lowest]), refused


def exact(model: Any, given: Questions, triggers: Sequence[Ids], some: Sequence[int], same: int = 0) -> Tensor:
    """The mean loss over a batch with each of some triggers; the same beginnings of prompts are read once.

    Args:
        model: the network.
        given: the inputs.
        triggers: numbers of their words; they can be typed.
        some: numbers of the inputs of the batch.
        same: how many words all triggers begin with.

    Returns:
        ``float64 [triggers]``.
    """
    questions = list[Question]()
    for trigger in triggers:
        found = given.asked(trigger, some)
        if found is None:
            raise MetaftError(
                f"a trigger cannot be typed: {written(given.tokenizer, trigger)[:60]!r} is read otherwise"
            )
        questions += found
    pairs, unscored = [], []
    for question in questions:
        cut = max(min(question.begin + same, len(question.context)), 1)
        pairs += [(question.context[:cut], question.context[cut:] + answer) for answer in question.answers]
        unscored += [len(question.context) - cut] * len(question.answers)
    return given.losses(log_probabilities(model, pairs, unscored), questions).reshape(len(triggers), -1).mean(1)


def _mean(model: Any, given: Questions, trigger: Ids, some: Sequence[int]) -> float:
    return float(exact(model, given, [trigger], some, len(trigger))[0])


def _started(given: Questions, start: str | None, length: int, may: Tensor, seed: int) -> Ids:
    """What the trigger begins as."""
    if start is not None:
        for space in (" ", ""):
            ids = tuple(given.tokenizer.pieces([space + start.strip()])[0].tolist())
            if ids and given.asked(ids) is not None:
                return ids
        raise MetaftError(
            f"the trigger cannot begin as {start[:60]!r}: behind the text it is read otherwise; give words"
        )
    draw, found = generator(seed, "trigger", 0), list[int]()
    # Word by word, as few combinations of many drawn pieces can be typed.
    for _ in range(DRAWS * length):
        if given.asked((*found, word := int(may[draw.integers(len(may))]))) is not None:
            found.append(word)
        if len(found) == length:
            return tuple(found)
    raise MetaftError(
        f"no {length} words that can be typed were found to begin from; give a start, or take words of another kind"
    )


def _check(model: Any, length: int, steps: int, batch: int, candidates: int, places: str, seed: int) -> None:
    for what, count in (("length", length), ("batch", batch), ("candidates", candidates)):
        require_count(count, what, 1)
    require_count(steps, "steps", 0)
    require_seed(seed)
    if places not in PLACES:
        raise MetaftError(f"unknown places {places!r}{nearest(places, PLACES)}; known: {', '.join(PLACES)}")
    if not getattr(model, "causal", False):
        raise MetaftError(
            f"a trigger is searched for a model that goes on with a text; this {type(model).__name__} does not"
        )


def _check_inputs(train: Sequence[tuple[Text, int]], validation: Sequence[tuple[Text, int]]) -> None:
    for name, some in (("train", train), ("validation", validation)):
        if not some:
            raise MetaftError(f"no {name} inputs are given; a trigger is searched on some and chosen on others")
    known = {text for text, _ in train}
    if twice := next((text for text, _ in validation if text in known), None):
        raise MetaftError(f"input {str(twice)[:60]!r} stands in train and in validation; a trigger is chosen on others")
