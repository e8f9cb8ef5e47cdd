"""The likeliest answer is that of scoring all to their end; what leads is what the model says."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from metaft.language.going_on import next_words
from metaft.prompting import likeliest as module
from metaft.prompting.likeliest import leads, likeliest
from metaft.prompting.log_probability import log_probabilities
from tests.prompting.small import network


@pytest.mark.parametrize("at_once", [1, 4])
def test_the_best_of_all(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    draw, model = random.Random(1), network()
    some = lambda count: tuple(draw.randrange(5, 300) for _ in range(count))
    asked = [(some(3 + i % 3), [some(2 + j % 2) for j in range(12)]) for i in range(4)]
    asked.append((some(4), [some(1 + j % 3) for j in range(6)]))
    asked.append((some(4), [some(1) for _ in range(6)]))
    every = [log_probabilities(model, [(text, one) for one in answers]) for text, answers in asked]
    assert likeliest(model, asked).tolist() == [int(own.argmax()) for own in every]
    first = [int(log_probabilities(model, [(text, one[:1]) for one in answers]).argmax()) for text, answers in asked]
    assert first != [int(own.argmax()) for own in every]  # first pieces alone would not do


def test_few_answers_are_read_to_their_end() -> None:
    model, read = network(), []
    plain = model.last_states
    model.last_states = lambda ids: (read.append(ids.numel()), plain(ids))[1]
    said = tuple(itertools.islice(next_words(network(), (7, 8, 9)), 4))
    answers = [(5 + i, 6 + i, 7 + i, 8 + i) for i in range(200)] + [said]
    assert likeliest(model, [((7, 8, 9), answers)]).tolist() == [200]
    assert sum(read) < 200  # to their end they have 600 and more


def test_what_a_model_goes_on_with_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TEXTS", 2)
    model, pairs, expected = network(), [], []
    for context in ((7, 8), (7, 8, 9, 30), (7, 40, 41)):
        said = tuple(itertools.islice(next_words(model, context), 3))
        for behind in (said, said[:1], (*said[:2], 5 + said[2] % 100), (5 + said[0] % 100, *said[1:])):
            pairs.append((context, behind))
            expected.append(behind == said[: len(behind)])
    found = leads(model, pairs)
    assert found.tolist() == expected
    assert sum(expected) >= 6
    assert found.dtype == torch.bool
