"""Many texts go on together, each by random numbers of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from metaft.data.texts.labelled_texts import PADDING
from metaft.elementary import draws
from metaft.errors import MetaftError
from metaft.models.added import places_before
from metaft.models.kv_cache import read_on
from metaft.validate import require_count, require_positive


@dataclass(frozen=True)
class Sampled:
    """What a model said behind prompts.

    Args:
        ids: ``int64 [texts, places]``, the words drawn, the one that ends a text among them; 0 behind the last.
        lengths: how many those are, ``int64 [texts]``.
        ended: ``bool [texts]``, whether the last of them ends the text.
        log_probabilities: ``[texts, places]``, float32 at least: log π(word | prompt and words before), 0 behind the
            last. π is the model's own softmax over all that it scores, as in `metaft.prompting.log_probability`,
            whatever the words were drawn by: without temperature and truncation, and with padding, which is never
            drawn.
    """

    ids: Tensor
    lengths: Tensor
    ended: Tensor
    log_probabilities: Tensor

    def texts(self) -> list[tuple[int, ...]]:
        """The words of each text, without padding."""
        return [tuple(row[:n]) for row, n in zip(self.ids.tolist(), self.lengths.tolist(), strict=True)]


@dataclass(frozen=True)
class Draw:
    """How the next word is drawn from scores: temperature, then the likeliest, then the nucleus of these.

    Args:
        temperature: scores are divided by it.
        choices: among so many likeliest (Fan et al. 2018, §5); 1 takes the likeliest; None for all.
        nucleus: among the fewest likeliest that have at least this probability together (Holtzman et al. 2020, §3.1);
            None for all.
        vocabulary: numbers below this are words; all that the network scores if None.

    Raises:
        MetaftError: if a number does not fit.
    """

    temperature: float = 1.0
    choices: int | None = None
    nucleus: float | None = None
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        require_positive(self.temperature, "temperature")
        if self.choices is not None:
            require_count(self.choices, "choices", 1)
        if self.vocabulary is not None:
            require_count(self.vocabulary, "vocabulary", 2)
        if self.nucleus is not None:
            require_positive(self.nucleus, "nucleus")
            if self.nucleus > 1:
                raise MetaftError(f"nucleus must be a probability above 0 and up to 1, not {self.nucleus!r}")

    def words(self, scores: Tensor, uniform: Tensor) -> Tensor:
        """The words at which the cumulative probability passes given numbers.

        Args:
            scores: ``[texts, vocabulary]``.
            uniform: ``float64 [texts]``, from (0, 1).

        Returns:
            ``int64 [texts]``, never padding.
        """
        scores = scores[:, : self.vocabulary].double() / self.temperature
        scores[:, PADDING] = -torch.inf
        words = None
        if self.choices is not None or self.nucleus is not None:
            most = scores.shape[-1] - 1
            scores, words = scores.topk(min(self.choices or most, most))
        mass = scores.softmax(-1).cumsum(-1)
        if self.nucleus is None:
            last = torch.full_like(uniform, mass.shape[-1] - 1, dtype=torch.long)[:, None]
        else:
            last = (mass < self.nucleus).sum(-1, keepdim=True).clamp(max=mass.shape[-1] - 1)
        # The numbers are below 1, but their product with a sum may be rounded up to it.
        place = torch.searchsorted(mass, uniform[:, None] * mass.gather(-1, last), right=True).minimum(last)
        return (place if words is None else words.gather(-1, place))[:, 0]


@torch.no_grad()
def sampled(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    words: int,
    ends: Collection[int],
    temperature: float = 1.0,
    choices: int | None = None,
    nucleus: float | None = None,
    seed: int = 0,
    numbers: Sequence[int] | None = None,
    vocabulary: int | None = None,
) -> Sampled:
    """Answers to many prompts, word by word.

    Equal prompts are read once. A text that has ended leaves the batch. Word i of an answer is drawn by a number that
    is a function of (seed, the prompt's number, i): but for rounding, an answer is the same whatever prompts it is
    drawn beside.

    Args:
        model: a causal network in evaluation mode with ``last_states(ids)`` and ``word_scores(states)``.
        prompts: each of one word at least, of any lengths.
        words: how many an answer has at most.
        ends: words behind which a text is over; none if empty.
        temperature: as of `Draw`.
        choices: likewise.
        nucleus: likewise.
        seed: a whole number; `metaft.elementary.draws.stream` makes one of several, such as a seed and an iteration.
        numbers: of the prompts, for their random numbers: those among all, where these are a part; 0, 1, … if None.
        vocabulary: as of `Draw`.

    Returns:
        The answers, on the model's device, padded to the longest.

    Raises:
        MetaftError: if a prompt is empty or has padding in it, it and its answer are longer than the network has
            places, or a number does not fit.
    """
    how = Draw(temperature, choices, nucleus, vocabulary)
    numbers = range(len(prompts)) if numbers is None else numbers
    _require(model, prompts, require_count(words, "words", 1), ends, numbers)
    first = next(model.parameters())
    device, count = first.device, len(prompts)
    ids = torch.full((count, words), PADDING, device=device)
    found = torch.zeros(count, words, dtype=torch.promote_types(first.dtype, torch.float32), device=device)
    lengths, ended = (
        torch.zeros(count, dtype=torch.long, device=device),
        torch.zeros(count, dtype=torch.bool, device=device),
    )
    if not count:
        return Sampled(ids[:, :0], lengths, ended, found[:, :0])
    keys = torch.tensor([draws.stream(seed, number) for number in numbers], device=device)
    stops = torch.tensor(sorted(ends), dtype=torch.long, device=device)

    rows = {text: row for row, text in enumerate(dict.fromkeys(map(tuple, prompts)))}
    of_prompt = torch.tensor([rows[tuple(prompt)] for prompt in prompts], device=device)
    read = pad_sequence([torch.tensor(text, device=device) for text in rows], batch_first=True)
    states, cache = read_on(model, read)
    last = states[torch.arange(len(rows), device=device), (read != PADDING).sum(-1) - 1][of_prompt]
    cache, going = cache.rows(of_prompt), torch.arange(count, device=device)
    for place in range(words):
        scores = model.word_scores(last)
        drawn = how.words(scores, draws.uniform(keys, place, (len(going),), torch.float64))
        said = scores.to(found.dtype).log_softmax(-1).gather(-1, drawn[:, None])[:, 0]
        over = torch.isin(drawn, stops)
        ids[going, place], found[going, place], ended[going] = drawn, said, over
        lengths[going] += 1
        left = (~over).nonzero()[:, 0]
        if not len(left):
            break
        if len(left) < len(going):
            going, keys, drawn, cache = going[left], keys[left], drawn[left], cache.rows(left)
        if place + 1 < words:
            states, cache = read_on(model, drawn[:, None], cache)
            last, cache = states[:, 0], cache.joined()
    longest = int(lengths.max())
    return Sampled(ids[:, :longest], lengths, ended, found[:, :longest])


def _require(
    model: Any, prompts: Sequence[Sequence[int]], words: int, ends: Collection[int], numbers: Sequence[int]
) -> None:
    """Refuse what cannot be gone on with, before anything is read."""
    if len(numbers) != len(prompts):
        raise MetaftError(f"{len(prompts)} prompts, and {len(numbers)} numbers for them; give one each")
    if PADDING in ends:
        raise MetaftError(f"ends holds number {PADDING}, which is padding and never said; leave it out")
    places, given = getattr(model, "places", None), _places_of_additions(model)
    for number, prompt in enumerate(prompts, start=1):
        if not len(prompt) or PADDING in prompt:
            what = f"has padding ({PADDING}) among its words" if len(prompt) else "has no words"
            raise MetaftError(f"prompt {number} of {len(prompts)} {what}; give words alone, one at least")
        if places is not None and given + len(prompt) + words > places:
            own = f", {given} of them an addition's" if given else ""
            raise MetaftError(
                f"prompt {number} of {len(prompts)} has {len(prompt)} words, and with {words} words behind it is "
                f"longer than the {places} places that this model has{own}; shorten one of them"
            )


def _places_of_additions(model: Any) -> int:
    """How many places additions take before a text."""
    word = torch.ones(1, 1, dtype=torch.long, device=next(model.parameters()).device)
    return int(model.input(word).shape[-1]) - 1 + places_before(model.input)
