"""Virtual words: where they stand, what numbers they have, and what they leave as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import metaft
from metaft.additions import attach, only, without
from metaft.additions.virtual_words import VirtualWords, word_layer
from metaft.errors import MetaftError
from metaft.models.layers import LayerFeatures
from tests.additions.test_additions import MODELS, network_of

VOCABULARY = 11
TEXTS = torch.tensor([[3, 4, 5, 0, 0], [6, 0, 7, 8, 9], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
"""One of them with a 0 in its midst, one without a word."""


def by_hand(text: list[int], first: int, ahead: int, behind: int) -> list[int]:
    """The numbers of a text's words with virtual ones around it."""
    length = max((place + 1 for place, word in enumerate(text) if word), default=0)
    new = list(range(first, first + ahead + behind))
    return [*new[:ahead], *text[:length], *new[ahead:], *text[length:]]


@pytest.mark.parametrize(("ahead", "behind"), [(3, 0), (0, 2), (3, 2)])
def test_they_stand_before_a_text_and_right_behind_its_last_word(ahead: int, behind: int) -> None:
    piece = VirtualWords(20, ahead, behind)
    expected = [by_hand(text, 20, ahead, behind) for text in TEXTS.tolist()]
    assert piece.before({}, TEXTS).tolist() == expected
    together = torch.vmap(lambda x: piece.before({}, x))(TEXTS.reshape(2, 2, -1))
    assert together.flatten(0, 1).tolist() == expected


def read(network: nn.Module, x: Tensor) -> Tensor:
    """What a network reads."""
    found: list[Tensor] = []
    hook = network.input.register_forward_hook(lambda _layer, _given, answer: found.append(answer))
    network(x)
    hook.remove()
    return found[0]


def test_a_second_addition_has_words_of_its_own_outside_the_first_ones() -> None:
    one = attach(network_of("bert"), "prompt:length=3")
    both = attach(one, "prompt-pool:length=4,where=around", name="pool")
    inside = [[11, 12, 13, *text] for text in TEXTS.tolist()]
    assert read(both, TEXTS).tolist() == [by_hand(text, 14, 2, 2) for text in inside]
    assert torch.equal(only(both, "prompt")(TEXTS), one(TEXTS))
    assert torch.equal(without(both, "pool")(TEXTS), one(TEXTS))
    # The pool's feature is of the text's own words, wherever another prompt stands.
    alone = attach(network_of("bert"), "prompt-pool:length=4,where=around", name="pool")
    vectors = only(both, "pool").embedding.words.pool
    vectors.load_state_dict(alone.embedding.words.pool.state_dict())
    acting = copy.deepcopy(both)
    acting.embedding.words.pool.load_state_dict(vectors.state_dict())
    torch.testing.assert_close(only(acting, "pool")(TEXTS), alone(TEXTS), rtol=1e-12, atol=1e-12)
    later = attach(without(both, "prompt"), "prompt:length=1", name="third")
    assert read(later, TEXTS)[0, 0] == 18


@pytest.mark.parametrize("model", ["bert", "gpt", "llama", "hf-bert", "hf-gpt2", "hf-llama"])
def test_words_are_scored_at_the_texts_own_places(model: str) -> None:
    network = network_of(model)
    if model in ("hf-bert", "hf-llama"):
        pytest.skip("it has no scores for words that are its embedding's")
    added = attach(network, "prompt:length=3")
    x, words = TEXTS[:2], network.get_submodule(word_layer(network, "a test"))
    scores = added.words(x)
    assert scores.shape == (2, 5, VOCABULARY)
    last = added.states(x)[-1]
    torch.testing.assert_close(scores, last[:, 3:] @ words.weight.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model", ["gpt", "hf-gpt2"])
def test_words_behind_a_text_that_none_of_its_words_sees_are_refused(model: str) -> None:
    with pytest.raises(MetaftError, match="reads in one direction"):
        attach(network_of(model), "prompt:where=around")


@pytest.mark.parametrize("model", ["bert", "hf-bert"])
def test_features_of_layers_are_means_over_the_texts_own_words(model: str) -> None:
    added = attach(network_of(model), "prompt:length=4,where=around")
    layer = {"bert": "blocks.1", "hf-bert": "model.encoder.layer.1"}[model]
    x = TEXTS[:3] * (TEXTS[:3].cumprod(-1) > 0)  # no 0 in the midst
    states = added.states(x)[2 if model == "hf-bert" else -1]
    lengths = (x != 0).sum(-1).tolist()
    expected = torch.stack([s[2 : 2 + n].mean(0) for s, n in zip(states, lengths, strict=True)])
    found = LayerFeatures(added, layer)
    torch.testing.assert_close(found(x), expected, rtol=1e-10, atol=1e-10)
    padded = nn.functional.pad(x, (0, 3))
    torch.testing.assert_close(found(padded), expected, rtol=1e-10, atol=1e-10)


def test_features_of_a_layer_whose_places_are_not_the_texts_are_refused() -> None:
    class Halved(nn.Module):
        """A network that sees every other place."""

        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(VOCABULARY, 8)
            self.layer = nn.Linear(8, 8)
            self.head = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            """The mean."""
            return self.head(self.layer(self.words(x)[:, ::2]).mean(1))

    with pytest.raises(MetaftError, match="'layer' holds 3 places for texts of 5"):
        LayerFeatures(Halved(), "layer")(TEXTS)


def test_what_an_addition_needs_of_a_network_is_said() -> None:
    assert set(MODELS) > {"mlp", "torch"}
    for spec in ("prompt:text=so it is", "prompt:frequent=3"):
        with pytest.raises(MetaftError, match="takes none in at a layer 'input'"):
            attach(metaft.models.MLP(4, 3), spec)
