"""Prefixes against words read before a text, Hugging Face's past keys and values, and attention written out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers import models, pre_tokenizers
from torch import Tensor, nn

import metaft
from metaft.additions import attach
from metaft.additions.attach import placed
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.learners.maml import MAML
from metaft.models.transformer import Attention
from metaft.tasks.batch import TaskBatch
from tests.additions.learned import own_parameters
from tests.additions.test_additions import moved, network_of, ours

RTOL = {"gpt": 1e-10, "llama": 1e-10, "hf-gpt2": 1e-10, "hf-llama": 2e-6}
"""Causal network → how near; theirs turns the keys of a Llama, and takes their softmax, in float32."""


def texts(count: int = 4, places: int = 6) -> Tensor:
    return torch.randint(1, 11, (count, places), generator=torch.Generator().manual_seed(1))


def attentions(added: nn.Module) -> dict[str, dict[str, Tensor]]:
    return {site: own for site, own in own_parameters(added, "prefix").items() if site != "input"}


@pytest.mark.parametrize("model", RTOL)
def test_begun_from_words_it_is_those_words_before_the_text(model: str) -> None:
    network, ids = network_of(model), texts()
    added = attach(network, "prefix:words=5,7,9")
    whole = network(torch.cat([torch.tensor([5, 7, 9]).expand(len(ids), -1), ids], dim=-1))
    torch.testing.assert_close(added(ids), whole, rtol=RTOL[model], atol=RTOL[model])
    assert not torch.allclose(attach(network, "prefix:words=5,7,9,shift=no")(ids), whole)


def test_a_text_is_read_by_the_tokenizer_of_the_network() -> None:
    network = network_of("gpt")
    network.tokenizer = tokenizer_of_letters()
    found, expected = (attentions(attach(network, f"prefix:{how}")) for how in ("text=a c b", "words=3,5,4"))
    for site, own in found.items():
        assert all(torch.equal(value, expected[site][name]) for name, value in own.items())
    with pytest.raises(MetaftError, match="holds no words"):
        attach(network, "prefix:text=")


def tokenizer_of_letters() -> Tokenizer:
    numbers = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "a", "b", "c"])}
    made = tokenizers.Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return Tokenizer(made.to_str(), "letters")


@pytest.mark.parametrize("kind", ["prefix", "deep-prompt"])
def test_what_it_began_from_is_no_part_of_the_meta_gradient(kind: str) -> None:
    # A model of Hugging Face's is copied twice within a transform, which no tensor beside the parameters survives.
    network, ids, labels = network_of("hf-bert"), texts(6).expand(2, -1, -1), torch.arange(3).repeat(2, 2)
    begun, drawn = attach(network, f"{kind}:words=5,7"), attach(network, f"{kind}:length=2")
    drawn.load_state_dict(begun.state_dict())
    one, other = (
        MAML(added, metaft.SGD(0.1), 2, scope=kind).meta_gradient(TaskBatch(ids, labels, ids, labels)).grads
        for added in (begun, drawn)
    )
    assert all(torch.equal(gradient, other[name]) for name, gradient in one.items())


@pytest.mark.parametrize("shift", ["yes", "no"])
@pytest.mark.parametrize("model", ["hf-gpt2", "hf-llama"])
def test_it_is_what_hugging_face_makes_of_past_keys_and_values(model: str, shift: str) -> None:
    cache_utils = pytest.importorskip("transformers.cache_utils")
    network, ids = network_of(model), texts()
    ids[0, 4:] = 0
    added = moved(attach(network, f"prefix:length=3,shift={shift}", seed=1))
    heads = 1 if model == "hf-llama" else 2
    split = lambda x: x.unflatten(-1, (heads, 4)).transpose(0, 1).expand(len(ids), -1, -1, -1)
    past: Any = cache_utils.DynamicCache()
    for layer, own in enumerate(attentions(added).values()):
        past.update(split(own["key"]), split(own["value"]), layer)
    theirs: Any = network.model
    theirs.set_attn_implementation("eager")
    mask = torch.cat([torch.ones(len(ids), 3), (ids != 0).float()], dim=-1)
    how: dict[str, Any] = {"position_ids": torch.arange(6)[None] + (3 if shift == "yes" else 0), "attention_mask": mask}
    states = theirs(input_ids=ids, cache=past, **how).last_hidden_state
    answers = network.head(network.vector([states], ids))
    torch.testing.assert_close(added(ids), answers, rtol=RTOL[model], atol=RTOL[model])


@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_it_mixes_attention_to_itself_into_that_to_the_text(key_heads: int) -> None:
    # He et al. 2022, eq. 7: (1 − λ) Attn(text) + λ Attn(prefix), λ the prefix's share of the weights.
    draw = torch.Generator().manual_seed(1)
    layer = Attention(8, 4, key_heads, biases=True).double()
    piece = placed(attach(of_one_block(key_heads), "prefix:length=3,epsilon=2", seed=1), "prefix")["blocks.0.attention"]
    x = torch.randn(2, 5, 8, generator=draw, dtype=torch.float64)
    mask = torch.where(torch.arange(5) < torch.tensor([[5], [3]]), 0.0, -1e30)[:, None, None].double()
    heads = lambda y: y.unflatten(-1, (-1, 2)).transpose(1, 2)
    grown = lambda y: heads(y).repeat_interleave(4 // key_heads, dim=1)
    query = heads(layer.query(x))
    text_scores = query @ grown(layer.key(x)).mT / math.sqrt(2) + mask
    own = {n: p.double() for n, p in piece.own().items()}
    own_scores = query @ grown(own["key"][None]).mT / math.sqrt(2)
    share = (own_scores.logsumexp(-1) - torch.cat([own_scores, text_scores], -1).logsumexp(-1)).exp()[..., None]
    text, prefix = text_scores.softmax(-1) @ grown(layer.value(x)), own_scores.softmax(-1) @ grown(own["value"][None])
    expected = layer.output(((1 - share) * text + share * prefix).transpose(1, 2).flatten(-2))
    layer.add_module("prefix", piece.double())
    torch.testing.assert_close(layer(x, mask, None), expected, rtol=1e-10, atol=1e-10)


def of_one_block(key_heads: int) -> nn.Module:
    return metaft.models.build(
        "transformer", outputs=3, seed=0, vocabulary=11, layers=1, width=8, heads=4, key_heads=key_heads, shape="bert"
    )


@pytest.mark.parametrize("model", ["bert", "hf-llama"])
def test_reparametrised_it_is_what_a_network_makes_of_one_embedding(model: str) -> None:
    network, ids = network_of(model), texts()
    added = moved(attach(network, "prefix:length=3,reparametrise=5", seed=1))
    plain = attach(network, "prefix:length=3")
    found = attentions(added)
    shared = {"embedding", "hidden", "hidden_bias"}
    assert all(len({id(own[name].untyped_storage()) for own in found.values()}) for name in shared)
    for site, own in found.items():
        hidden = (own["embedding"] @ own["hidden"].T + own["hidden_bias"]).tanh()
        for name in ("key", "value"):
            made = hidden @ own[name].T + own[f"{name}_bias"]
            getattr(plain.get_submodule(site).prefix, name).data = made
    torch.testing.assert_close(added(ids), plain(ids), rtol=1e-10, atol=1e-10)
    names = [name for name, _ in added.named_parameters() if ".prefix." in name]
    assert sum(name.split(".")[-1] in shared for name in names) == 3
    assert len(names) == 3 + 4 * len(found)


def test_keys_of_zero_hide_where_a_rotary_text_begins_and_learned_places_do_not() -> None:
    for shape, same in (("llama", True), ("gpt", False)):
        network = network_of(shape)
        answers = []
        for shift in ("yes", "no"):
            added = attach(network, f"prefix:length=3,shift={shift}", seed=1)
            for own in attentions(added).values():
                own["key"].zero_()
            answers.append(added(texts()))
        assert torch.allclose(*answers, rtol=1e-10, atol=1e-10) == same


def test_how_it_begins() -> None:
    network = network_of("bert")
    (own, other) = attentions(attach(network, "prefix:length=50,epsilon=0.1", seed=1)).values()
    for value in (*own.values(), *other.values()):
        assert value.shape == (50, 8)
        assert 0.09 < value.abs().max() < 0.1
    assert len(attentions(attach(network, "prefix"))["blocks.0.attention"]["key"]) == 10


def test_other_additions_do_not_act_on_the_words_that_it_begins_from() -> None:
    network, how = network_of("gpt"), "prefix:words=5,7,9"
    plain = attentions(attach(network, how))
    other = attentions(attach(moved(attach(network, "lora+prefix:length=2")), how, name="second"))
    for name, value in plain["blocks.1.attention"].items():
        found = own_parameters(attach(moved(attach(network, "lora")), how), "prefix")["blocks.1.attention"][name]
        torch.testing.assert_close(found, value)
    assert len(other["blocks.0.attention"]["key"]) == 2


@pytest.mark.parametrize(
    ("options", "model", "said"),
    [
        ("length=0", "bert", "the length of prefix must be a whole number of at least 1"),
        ("words=a", "bert", "words = a: should be a valid integer"),
        ("epsilon=0", "bert", "the epsilon of prefix must be a positive"),
        ("reparametrise=0", "bert", "reparametrise of a prefix must be"),
        ("words=3,reparametrise=4", "bert", "leave them or reparametrise out"),
        ("words=3,length=4", "bert", "leave length out"),
        ("words=0", "bert", "0 is padding"),
        ("words=11", "hf-bert", "has words 1 to 10"),
        ("words=3,text=a dog", "bert", "leave one of them out"),
        ("text=a dog", "bert", "does not know what its numbers stand for"),
        ("words=3", "torch", "shows no one its keys and values"),
    ],
)
def test_what_cannot_be_is_refused(options: str, model: str, said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        attach(network_of(model), f"prefix:{options}")


def test_where_places_cannot_be_shifted_is_refused() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = ours("gpt")()

        def forward(self, ids: Tensor) -> Tensor:
            return self.network(ids)

    with pytest.raises(MetaftError, match="take shift=no"):
        attach(Wrapped(), "prefix")
    attach(Wrapped(), "prefix:shift=no")
