"""Going on word by word is reading the whole text again for each word."""

from __future__ import annotations

import itertools

import pytest
import torch

from metaft.additions import attach
from metaft.data.texts.labelled_texts import PADDING
from metaft.language.going_on import next_words
from metaft.language.samples import generated
from tests.prompting.small import network, words

BEGIN = words().encode(["A dog"])[0].tolist()[:-1]


@pytest.mark.parametrize("put_in", [None, "prefix:length=3", "prompt:length=2"])
@pytest.mark.parametrize(("choices", "seed"), [(1, 0), (7, 0), (7, 1), (10**6, 2)])
def test_it_says_what_the_plain_loop_says(choices: int, seed: int, put_in: str | None) -> None:
    model = network() if put_in is None else attach(network(), put_in, seed=0).double().eval()

    def scored(ids: torch.Tensor) -> tuple[torch.Tensor]:
        scores = model.words(ids)
        scores[..., PADDING] = -torch.inf
        return (scores,)

    most = min(choices, words().vocabulary)
    expected = generated(scored, torch.tensor([BEGIN]), 12, most, seed)[0, len(BEGIN) :].tolist()
    assert list(itertools.islice(next_words(model, BEGIN, choices, seed), 12)) == expected
    assert len(set(expected)) > 1


def test_one_word_a_step_is_read() -> None:
    model, read = network(), []
    plain = model.last_states
    model.last_states = lambda ids: (read.append(ids.shape[1]), plain(ids))[1]
    list(itertools.islice(next_words(model, BEGIN), 4))
    del model.last_states
    assert read == [len(BEGIN), 1, 1, 1]


def test_only_words_are_said() -> None:
    model, most = network(), 40
    said = list(itertools.islice(next_words(model, BEGIN, 10**6, 0, most), 60))
    assert max(said) < most
    assert PADDING not in said
    assert len(set(said)) > 10
