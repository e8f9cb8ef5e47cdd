"""Answers that are drawn together are those that are drawn alone, and come as often as the model says."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import pytest
import torch

from metaft.additions import attach
from metaft.data.locate import roots
from metaft.data.texts import tokenizer
from metaft.data.texts.labelled_texts import PADDING
from metaft.errors import MetaftError
from metaft.language.going_on import next_words
from metaft.language.sampling import Draw, sampled
from metaft.models import build
from metaft.prompting.log_probability import log_probabilities
from tests.prompting.small import network

PROMPTS = [(7, 8, 9), (12,), (7, 8, 9), (30, 31, 32, 33, 34, 35, 36), (40, 41)]
STORIES = any((root / "stories260k").is_dir() for root in roots())


def gpt() -> Any:
    return network()


def llama() -> Any:
    small = {"layers": 2, "width": 16, "heads": 4, "key_heads": 2, "vocabulary": 60}
    return _louder(build("transformer", outputs=2, seed=0, shape="llama", **small), 4)


def _louder(model: Any, by: float) -> Any:
    """With larger weights, so that words differ."""
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(by)
    return model.double().eval()


@lru_cache(maxsize=1)
def stories() -> Any:
    return build("stories260k", outputs=2, seed=0).eval()


def put(model: Any, addition: str | None) -> Any:
    """A network with an addition that changes what it says."""
    if addition is None:
        return model
    made = attach(model, addition, seed=0).to(next(model.parameters()).dtype).eval()
    for name, value in made.named_parameters():
        if name.endswith("lora.B"):
            value.data.normal_(generator=torch.Generator().manual_seed(1))
    return made


@pytest.mark.parametrize("addition", [None, "lora:rank=2", "prefix:length=3", "prompt:length=2"])
@pytest.mark.parametrize("make", [gpt, llama])
@pytest.mark.parametrize("how", [{}, {"temperature": 2.0, "choices": 20, "nucleus": 0.9}, {"choices": 1}])
def test_together_is_alone(make: Any, addition: str | None, how: dict[str, Any]) -> None:
    model = put(make(), addition)
    plain = sampled(model, PROMPTS, words=9, ends=(), seed=3, **how)
    ends = {plain.texts()[1][2], plain.texts()[3][5]}
    found = sampled(model, PROMPTS, words=9, ends=ends, seed=3, **how)
    for i, prompt in enumerate(PROMPTS):
        alone = sampled(model, [prompt], words=9, ends=ends, seed=3, numbers=[i], **how)
        (text,) = alone.texts()
        assert found.texts()[i] == text
        assert bool(alone.ended[0]) == bool(found.ended[i]) == (text[-1] in ends)
        assert not set(text[:-1]) & ends
        assert text == plain.texts()[i][: len(text)]
        assert len(text) == 9 or text[-1] in ends
        torch.testing.assert_close(
            found.log_probabilities[i, : len(text)], alone.log_probabilities[0], rtol=0, atol=1e-9
        )
    assert len(set(found.lengths.tolist())) > 1
    behind = torch.arange(found.ids.shape[1]) >= found.lengths[:, None]
    assert bool((found.ids[behind] == PADDING).all())
    assert bool((found.ids[~behind] != PADDING).all())
    assert bool((found.log_probabilities[behind] == 0).all())


@pytest.mark.parametrize("how", [{}, {"temperature": 3.0}, {"choices": 5}, {"nucleus": 0.5}, {"vocabulary": 50}])
@pytest.mark.parametrize("make", [gpt, llama])
def test_log_probabilities_are_the_models_own(make: Any, how: dict[str, Any]) -> None:
    model = make()
    found = sampled(model, PROMPTS, words=5, ends=(), seed=1, **how)
    expected = log_probabilities(model, list(zip(PROMPTS, found.texts(), strict=True)))
    torch.testing.assert_close(found.log_probabilities.sum(-1), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("addition", [None, "lora:rank=2", "prefix:length=3", "prompt:length=2"])
def test_the_likeliest_are_those_of_one_text(addition: str | None) -> None:
    model = put(gpt(), addition)
    said = sampled(model, PROMPTS, words=6, ends=(), choices=1).texts()
    assert said == [tuple(itertools.islice(next_words(model, prompt), 6)) for prompt in PROMPTS]


@pytest.mark.skipif(not STORIES, reason="there is no folder stories260k in the data root")
@pytest.mark.parametrize("addition", [None, "lora:rank=2", "prefix:length=2", "prompt:length=2"])
def test_stories(addition: str | None) -> None:
    model, own = put(stories(), addition), tokenizer.asked("stories260k", ())
    begins = ("Once upon a time", "The cat", "One day, a little girl named Lily found")
    prompts = [tuple(row[row != PADDING].tolist()) for row in (own.encode((text,))[0].long() for text in begins)]
    greedy = sampled(model, prompts, words=12, ends=(), choices=1).texts()
    assert greedy == [tuple(itertools.islice(next_words(model, prompt), 12)) for prompt in prompts]
    prompts.append(prompts[0])
    ends = {sampled(model, prompts[:1], words=8, ends=(), seed=5).texts()[0][-1]}
    together = sampled(model, prompts, words=12, ends=ends, seed=5)
    for i in (0, 2, 3):
        alone = sampled(model, [prompts[i]], words=12, ends=ends, seed=5, numbers=[i])
        assert alone.texts() == [together.texts()[i]]
    assert together.texts()[0] != together.texts()[3]
    assert len(set(together.lengths.tolist())) > 1
    expected = log_probabilities(model, list(zip(prompts, together.texts(), strict=True)))
    found = together.log_probabilities.double().sum(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def _expected(scores: torch.Tensor, temperature: float, choices: int | None, nucleus: float | None) -> torch.Tensor:
    """Probabilities of the next word, by the definitions, word by word."""
    whole = scores.double().clone() / temperature
    whole[PADDING] = -torch.inf
    chances = whole.softmax(-1)
    order = sorted(range(len(chances)), key=lambda word: -float(chances[word]))
    kept = order[:choices]
    if nucleus is not None:
        total, mass, some = sum(float(chances[word]) for word in kept), 0.0, []
        for word in kept:
            if mass >= nucleus * total:
                break
            some.append(word)
            mass += float(chances[word])
        kept = some
    made = torch.zeros_like(chances)
    made[kept] = chances[kept]
    return made / made.sum()


@pytest.mark.parametrize(
    ("temperature", "choices", "nucleus"),
    [(1.0, None, None), (2.0, None, None), (0.5, None, None), (1.0, 4, None), (1.0, None, 0.7), (1.5, 6, 0.8)],
)
def test_words_come_as_often_as_the_model_says(temperature: float, choices: int | None, nucleus: float | None) -> None:
    small = {"layers": 1, "width": 8, "heads": 2, "vocabulary": 12}
    model = _louder(build("transformer", outputs=2, seed=0, shape="llama", **small), 8)
    how = {"temperature": temperature, "choices": choices, "nucleus": nucleus}
    draws = 20_000
    found = sampled(model, [(3, 4)] * draws, words=2, ends=(), seed=7, **how).ids  # type: ignore[arg-type]
    with torch.no_grad():
        first = _expected(model.words(torch.tensor([[3, 4]]))[0, -1], temperature, choices, nucleus)
        second = sum(
            first[word] * _expected(model.words(torch.tensor([[3, 4, word]]))[0, -1], temperature, choices, nucleus)
            for word in range(12)
            if first[word]
        )
    for place, expected in ((0, first), (1, second)):
        counts = torch.bincount(found[:, place], minlength=12).double()
        assert bool((counts[expected == 0] == 0).all())
        real = expected > 0
        chi_square = ((counts - draws * expected)[real] ** 2 / (draws * expected[real])).sum()
        freedom = int(real.sum()) - 1
        assert float(chi_square) < freedom + 4 * (2 * freedom) ** 0.5  # four deviations
    assert int((first > 0).sum()) > 1


def test_words_of_a_text_are_drawn_by_other_numbers() -> None:
    model = gpt()
    some = {
        n: sampled(model, [PROMPTS[0]], words=8, ends=(), seed=s, numbers=[n]).texts()[0] for s, n in [(0, 0), (0, 1)]
    }
    assert some[0] != some[1]
    assert sampled(model, [PROMPTS[0]], words=8, ends=(), seed=1).texts()[0] != some[0]
    uniform = torch.rand(2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat = torch.zeros(2000, 40)
    assert set(Draw(vocabulary=9).words(flat, uniform).tolist()) == set(range(1, 9))


def test_the_ends_of_what_is_drawn_from() -> None:
    scores = torch.tensor([[9.0, 0.0, 1.0, -torch.inf]]).repeat(2, 1)
    uniform = torch.tensor([2.0**-53, 1 - 2.0**-53], dtype=torch.float64)
    assert Draw().words(scores, uniform).tolist() == [1, 2]
    assert Draw(nucleus=1.0).words(scores, uniform).tolist() == [2, 1]
    assert Draw(nucleus=1e-9).words(scores, uniform).tolist() == [2, 2]
    assert Draw(choices=99, temperature=1e-3).words(scores, uniform).tolist() == [2, 2]


def test_nothing_is_computed_for_texts_that_are_over() -> None:
    model, read = gpt(), list[tuple[int, ...]]()
    texts = sampled(model, PROMPTS, words=4, ends=(), choices=1).texts()
    plain = model.last_states
    model.last_states = lambda ids: (read.append(tuple(ids.shape)), plain(ids))[1]
    ends = {texts[1][0], texts[3][1]}
    found = sampled(model, PROMPTS, words=4, ends=ends, choices=1)
    lengths = found.lengths.tolist()
    assert read[0] == (4, 7)  # equal prompts are read once
    assert read[1:] == [(sum(n > place for n in lengths), 1) for place in range(1, max(lengths))]
    assert len(set(lengths)) > 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompts": [(3,), ()]}, "prompt 2 of 2 has no words"),
        ({"prompts": [(3, 0, 4)]}, "prompt 1 of 1 has padding"),
        ({"prompts": [(3,) * 198]}, "has 198 words, and with 3 words behind it is longer than the 200 places"),
        ({"words": 0}, "words must be a whole number of at least 1"),
        ({"ends": (0,)}, "ends holds number 0"),
        ({"numbers": [1, 2]}, "1 prompts, and 2 numbers"),
        ({"temperature": 0.0}, "temperature must be a positive"),
        ({"choices": 0}, "choices must be"),
        ({"nucleus": 1.5}, "nucleus must be a probability"),
        ({"nucleus": 0.0}, "nucleus must be a positive"),
        ({"vocabulary": 1}, "vocabulary must be"),
    ],
)
def test_what_does_not_do_is_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        sampled(**{"model": gpt(), "prompts": [(3,)], "words": 3, "ends": (), **given})  # type: ignore[arg-type]


def test_places_that_an_addition_takes_count() -> None:
    model = attach(network(20), "prompt:length=4", seed=0).double().eval()
    with pytest.raises(MetaftError, match="20 places that this model has, 4 of them an addition's"):
        sampled(model, [(3,) * 12], words=5, ends=())
    assert sampled(model, [(3,) * 12], words=4, ends=()).ids.shape == (1, 4)


def test_no_prompts_have_no_answers() -> None:
    found = sampled(gpt(), [], words=3, ends=())
    assert found.ids.shape == found.log_probabilities.shape == (0, 0)
    assert found.texts() == []
