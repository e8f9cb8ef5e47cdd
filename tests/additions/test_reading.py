"""What prompts have learned, in words."""

from __future__ import annotations

import pytest
import torch

from metaft.additions import attach
from metaft.additions.attach import placed
from metaft.additions.reading import nearest_words, repeated
from metaft.errors import MetaftError
from tests.additions.test_additions import network_of
from tests.additions.test_prompt import WORDS, tokenizer


def test_the_nearest_words_of_a_prompt() -> None:
    network = network_of("bert")
    network.tokenizer = tokenizer()
    added = attach(network, "prompt:text=so is it")
    rows = nearest_words(added, k=3)
    assert [row.place for row in rows] == [(0,), (1,), (2,)]
    assert [row.cosine[0][0] for row in rows] == ["so", "is", "it"]
    torch.testing.assert_close(torch.tensor([row.cosine[0][1] for row in rows]), torch.ones(3))
    vector, table = placed(added, "prompt")["embedding.words"].vectors[0].detach(), network.embedding.words.weight
    scores = {word: float(torch.dot(vector, table.detach()[n])) for n, word in enumerate(WORDS)}
    scores.pop("[PAD]")
    expected = sorted(scores.items(), key=lambda pair: -pair[1])
    assert [word for word, _ in rows[0].dot] == [word for word, _ in expected[:3]]
    assert rows[0].dot[0][1] == pytest.approx(expected[0][1])
    assert len(nearest_words(added, k=99)[0].dot) == len(WORDS) - 1


def test_the_rows_of_a_pool_and_of_made_vectors() -> None:
    network = network_of("bert")
    pool = attach(network, "prompt-pool:prompts=2,length=3")
    rows = nearest_words(pool, "prompt-pool", tokenizer(), 1)
    assert [row.place for row in rows] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert len({row.cosine[0][0] for row in rows}) == 6  # six words were drawn
    made = attach(network, "prompt:length=2,made_by=mlp")
    beside = placed(made, "prompt")["embedding.words"]
    made_vector = beside.piece.learned(beside.own())[0]
    nearest = torch.cosine_similarity(made_vector, network.embedding.words.weight[1:], dim=-1).detach().max()
    assert nearest_words(made, tokenizer=tokenizer(), k=1)[0].cosine[0][1] == pytest.approx(float(nearest))


@pytest.mark.parametrize("model", ["gpt", "llama", "hf-gpt2"])
def test_a_model_goes_on_behind_its_prompt(model: str) -> None:
    network = network_of(model)
    network.tokenizer = tokenizer()
    told = "so is it"
    added = attach(network, f"prompt:text={told}").train()
    # The same words in front of the request say the same.
    expected = repeated(network, f"{told} this good", words=6)
    assert repeated(added, "this good", words=6) == expected
    assert added.training
    ids = [WORDS.index(word) for word in [*told.split(), "this", "good"]]
    first = int(network.words(torch.tensor([ids]))[0, -1, 1:].argmax()) + 1
    assert expected == "" if first < 3 else expected.split()[0] == WORDS[first]


def test_what_cannot_be_read_is_said() -> None:
    network = network_of("bert")
    with pytest.raises(MetaftError, match="does not go on with a text"):
        repeated(network, tokenizer=tokenizer())
    with pytest.raises(MetaftError, match="set its attribute tokenizer"):
        nearest_words(attach(network, "prompt"))
    with pytest.raises(MetaftError, match="only prompts can be read"):
        nearest_words(attach(network, "lora"), "lora", tokenizer())
    with pytest.raises(MetaftError, match="no addition 'other'"):
        nearest_words(attach(network, "prompt"), "other", tokenizer())
    with pytest.raises(MetaftError, match="ask for something"):
        repeated(network_of("gpt"), "", tokenizer=tokenizer())
