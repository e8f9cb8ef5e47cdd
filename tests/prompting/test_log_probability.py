"""Probabilities of continuations are those of one pass over each whole text."""

from __future__ import annotations

import random

import pytest
import torch

from metaft.errors import MetaftError
from metaft.prompting import log_probability
from metaft.prompting.log_probability import common_length, log_probabilities
from tests.prompting.small import network, probability


@pytest.mark.parametrize("words", [1, 2**4, 2**10])
@pytest.mark.parametrize("shared", [0, 1, 9])
def test_what_is_shared_changes_nothing(shared: int, words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_probability, "WORDS", words)
    draw, model = random.Random(shared), network()
    some = lambda count: tuple(draw.randrange(5, 300) for _ in range(count))
    begin = some(shared)
    contexts = [begin + some(count) for count in (3, 1, 6, 2)]
    pairs = [(context, some(count)) for context in contexts for count in (1, 4, 0, 2)]
    pairs.append((contexts[0] + contexts[1][shared:], some(3)))  # one context begins as another does
    draw.shuffle(pairs)
    expected = [probability(model, [*context, *rest], len(context)) for context, rest in pairs]
    found = log_probabilities(model, pairs)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


def test_one_context_and_contexts_that_are_beginnings_of_others() -> None:
    model = network()
    pairs = [((7, 8), (9, 10)), ((7, 8, 9), (10,)), ((7,), (8,))]
    expected = [probability(model, [*context, *rest], len(context)) for context, rest in pairs]
    for some in (pairs, pairs[:1]):
        found = log_probabilities(model, some)
        torch.testing.assert_close(found, torch.tensor(expected[: len(some)], dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("words", [1, 2**10])
def test_the_first_words_of_a_continuation_may_be_left_out(words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_probability, "WORDS", words)
    model, whole = network(), (7, 8, 9, 10, 11, 12)
    cut = [(whole[:begin], whole[begin:], count) for begin in (1, 2, 4) for count in range(len(whole) - begin + 1)]
    expected = [probability(model, list(whole), len(before) + count) for before, _, count in cut]
    found = log_probabilities(model, [(before, rest) for before, rest, _ in cut], [count for *_, count in cut])
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


def test_nothing_to_go_on_from_is_refused() -> None:
    assert log_probabilities(network(), []).shape == (0,)
    with pytest.raises(MetaftError, match="a text that is to be continued has no words"):
        log_probabilities(network(), [((), (3,))])


def test_each_text_is_read_once() -> None:
    model, read = network(), []
    plain = model.last_states
    model.last_states = lambda ids: (read.append(int((ids != 0).sum())), plain(ids))[1]
    shared = tuple(range(5, 45))
    log_probabilities(model, [((*shared, 50 + i), (60 + j, 70, 71)) for i in range(6) for j in range(4)])
    assert sum(read) == 40 + 6 * 1 + 24 * 2  # the shared words, those of each context, and of each answer but the last


def test_common_length() -> None:
    assert common_length([(1, 2, 3), (1, 2), (1, 2, 4)]) == 2
    assert common_length(["abc"]) == 3
    assert common_length([(2,), (1,)]) == 0
