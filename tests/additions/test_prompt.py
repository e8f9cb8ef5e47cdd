"""Prompts: the same as vectors put beside a text's by hand, what they begin as, and what makes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers import models, pre_tokenizers
from torch import Tensor, nn

import metaft
from metaft.additions import attach
from metaft.additions.attach import placed
from metaft.additions.prompt_encoder import create_lstm, layers, lstm
from metaft.additions.virtual_words import WordVectors, word_layer
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.learners.maml import MAML
from tests.additions import test_additions as contract
from tests.additions.test_additions import moved, network_of

SPECS = (
    "prompt:length=3",
    "prompt:length=5,where=around",
    "prompt:length=3,made_by=lstm",
    "prompt:length=3,made_by=mlp,hidden=3",
    "prompt-pool:prompts=3,length=3,where=around",
    "conditional-prompt:length=3,hidden=2",
)
TEXTS = torch.tensor([[3, 4, 5, 0, 0], [6, 1, 7, 8, 9], [2, 0, 0, 0, 0]])
WORDS = ("[PAD]", "[CLS]", "[SEP]", "is", "this", "good", "or", "bad", "?", "so", "it")


def tokenizer() -> Tokenizer:
    """One word, one number."""
    made = tokenizers.Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="it"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["[PAD]", "[CLS]", "[SEP]"])
    return Tokenizer(made.to_str(), "test")


def vectors_by_hand(spec: str, own: dict[str, Tensor], words: Tensor) -> Tensor:
    """The vectors of a prompt for a text with these word vectors, as the papers have them."""
    if spec.startswith("prompt-pool"):
        query = (words.mean(0) - words.mean(0).mean()) / words.mean(0).std(correction=0)
        a = torch.tensor([torch.dot(key, query) / len(query) ** 0.5 for key in own["keys"]]).exp()
        return sum(share * prompt for share, prompt in zip(a / a.sum(), own["vectors"], strict=True))
    if spec.startswith("conditional"):
        hidden = (own["weight_0"] @ words.mean(0) + own["bias_0"]).clamp(min=0)
        return torch.stack([v + own["weight_1"] @ hidden + own["bias_1"] for v in own["vectors"]])
    if "lstm" in spec:
        return layers_by_hand(own, by_torch(own)(own["vectors"])[0])
    return layers_by_hand(own, own["vectors"]) if "mlp" in spec else own["vectors"]


def layers_by_hand(own: dict[str, Tensor], x: Tensor) -> Tensor:
    """Linear layers with ReLU between."""
    count = 3 if "weight_2" in own else 2
    parts: list[nn.Module] = []
    for i in range(count):
        layer = nn.Linear(*reversed(own[f"weight_{i}"].shape)).double()
        layer.load_state_dict({"weight": own[f"weight_{i}"], "bias": own[f"bias_{i}"]})
        parts += [layer, nn.ReLU()]
    return nn.Sequential(*parts[:-1])(x)


def by_torch(own: dict[str, Tensor]) -> nn.LSTM:
    """Torch's LSTM with the same weights."""
    hidden = own["weight_hh_l0"].shape[1]
    made = nn.LSTM(own["weight_ih_l0"].shape[1], hidden, 2, bidirectional=True).double()
    for which in ("l0", "l0_reverse", "l1", "l1_reverse"):
        for name in ("weight_ih", "weight_hh"):
            getattr(made, f"{name}_{which}").data = own[f"{name}_{which}"]
        getattr(made, f"bias_ih_{which}").data = own[f"bias_{which}"]
        getattr(made, f"bias_hh_{which}").data.zero_()
    return made


def states_by_hand(network: nn.Module, parts: list[Tensor]) -> Tensor:
    """The last states of a network that is given vectors, one text, no padding."""
    x = torch.cat(parts).unsqueeze(0)
    if hasattr(network, "model"):
        return network.model(inputs_embeds=x).last_hidden_state[0]
    # A vocabulary of these vectors alone.
    words = network.embedding.words
    given = nn.Embedding.from_pretrained(torch.cat([torch.zeros_like(x[0, :1]), x[0]]))
    network.embedding.words = given
    try:
        return network.states(torch.arange(1, len(given.weight)).unsqueeze(0))[-1][0]
    finally:
        network.embedding.words = words


@pytest.mark.parametrize("model", ["bert", "gpt", "llama", "hf-bert", "hf-gpt2", "hf-llama"])
@pytest.mark.parametrize("spec", SPECS)
def test_a_prompt_is_vectors_beside_those_of_a_texts_words(spec: str, model: str) -> None:
    if "around" in spec and "bert" not in model:
        pytest.skip("no word sees what is behind it")
    network = network_of(model)
    added = moved(attach(network, spec))
    (beside,) = (a for a in placed(added, spec.partition(":")[0]).values() if isinstance(a.piece, WordVectors))
    own = {name: p.detach() for name, p in beside.own().items()}
    table = network.get_submodule(word_layer(network, "a test")).weight
    answers = []
    with torch.no_grad():
        for text in TEXTS:
            words = table[text[text != 0]]
            vectors = vectors_by_hand(spec, own, words)
            behind = len(vectors) // 2 if "around" in spec else 0
            ahead = len(vectors) - behind
            last = states_by_hand(network, [vectors[:ahead], words, vectors[ahead:]])
            last = last[ahead : ahead + len(words)]
            answers.append(network.head(last.mean(0) if "bert" in model else last[-1]))
        near = 1e-6 if model == "hf-llama" else 1e-10  # theirs norms in float32
        torch.testing.assert_close(added(TEXTS), torch.stack(answers), rtol=near, atol=near)


@pytest.mark.parametrize("spec", SPECS[1:])
def test_options_change_nothing_of_what_every_addition_keeps(spec: str) -> None:
    contract.test_padding_changes_no_answer(spec, "bert")
    contract.test_its_meta_gradient_is_that_of_plain_autograd(spec, "bert", "all")


@pytest.mark.parametrize("model", ["bert", "hf-gpt2"])
def test_only_the_prompt_adapts_and_is_trained(model: str) -> None:
    _, added, batch = contract.made("prompt:length=3,made_by=mlp", model)
    learner = MAML(added, metaft.SGD(0.1), 1, scope="prompt", meta_scope="prompt")
    assert len(learner.adapts) == 7
    assert set(learner.adapts) == set(learner.trains)
    assert all(grad.abs().max() > 0 for grad in learner.meta_gradient(batch).grads.values())


def test_an_lstm_in_plain_operations_is_torchs() -> None:
    draw = torch.Generator().manual_seed(0)
    own = {name: p.double() for name, p in create_lstm(5, 3, draw).items()}
    x = torch.randn(4, 5, dtype=torch.float64)
    torch.testing.assert_close(lstm(own, x), by_torch(own)(x)[0], rtol=1e-12, atol=1e-12)
    many = torch.stack([x, -x])
    together = torch.vmap(lambda one: layers(own, lstm(own, one)))(many)
    torch.testing.assert_close(together, torch.stack([layers(own, lstm(own, one)) for one in many]))
    few = create_lstm(2, 1, draw)
    names = [name for name in few if "l0" in name]
    given = [few[name].double().requires_grad_() for name in names]
    rest = {name: p.double() for name, p in few.items() if name not in names}
    short = torch.randn(2, 2, dtype=torch.float64)
    made = lambda *values: lstm(rest | dict(zip(names, values, strict=True)), short)
    assert torch.autograd.gradgradcheck(made, given)


def vectors_of(network: nn.Module, spec: str, seed: int = 0) -> Tensor:
    """What an addition's vectors begin as."""
    added = attach(network, spec, seed)
    (beside,) = (a for a in placed(added, spec.partition(":")[0]).values() if isinstance(a.piece, WordVectors))
    return beside.own()["vectors"].detach()


def test_what_it_begins_as() -> None:
    network = network_of("bert")
    table = network.embedding.words.weight.detach()
    words = lambda vectors: [int((table == v).all(-1).nonzero()) for v in vectors]
    drawn = words(vectors_of(network, "prompt:length=10"))
    assert sorted(drawn) == list(range(1, 11))  # each once, padding never
    assert drawn != words(vectors_of(network, "prompt:length=10", seed=1))
    assert set(words(vectors_of(network, "prompt:length=9,frequent=2"))) == {1, 2}
    assert len(vectors_of(network, "prompt")) == 20
    assert vectors_of(network, "prompt-pool:prompts=2,length=4").shape == (2, 4, 8)
    many = vectors_of(network, "prompt:length=4000,start=normal")
    torch.testing.assert_close(many.mean(0), table[1:].mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(many.std(0), table[1:].std(0, correction=0), rtol=0.1, atol=0)


def test_the_words_of_a_text() -> None:
    network = network_of("bert")
    network.tokenizer = tokenizer()
    table = network.embedding.words.weight.detach()
    assert torch.equal(vectors_of(network, "prompt:text=is this good"), table[[3, 4, 5]])
    around = attach(network, "conditional-prompt:where=around,text=is {} good or bad ?")
    (read,) = (a.piece for a in placed(around, "conditional-prompt").values() if not isinstance(a.piece, WordVectors))
    assert (read.ahead, read.behind) == (1, 4)
    assert torch.equal(vectors_of(network, "prompt:where=around,text={} good"), table[[5]])
    # A prompt of a text's vectors is that text.
    x = torch.tensor([[5, 6, 7]])
    states = attach(network, "prompt:text=is this").states(x)[-1]
    torch.testing.assert_close(states, network.states(torch.tensor([[3, 4, 5, 6, 7]]))[-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("prompt:text=so", "does not know what its numbers stand for"),
        ("prompt:length=0", "length of prompt must be a whole number of at least 1"),
        ("prompt:length=1,where=around", "at least 2"),
        ("prompt:start=text", "no text is given"),
        ("prompt:start=normal,text=so", "leave one of them out"),
        ("prompt:text=so,length=3", "leave length and frequent out"),
        ("prompt:text=so {} it", "take where=around"),
        ("prompt:text=so,where=around", "once, where the text stands"),
        ("prompt:frequent=11", "the network knows 10 words"),
        ("prompt:hidden=3", "add made_by=lstm or made_by=mlp"),
        ("prompt:made_by=lstm,text=so", "leave text out"),
        ("prompt:made_by=gru", "made_by"),
        ("prompt-pool:prompts=0", "prompts of a prompt-pool"),
        ("prompt-pool:start=text", "start"),
        ("input-map:rank=0", "rank of an input-map"),
        ("input-map:activation=sine", "activation"),
    ],
)
def test_mistakes_are_named(spec: str, message: str) -> None:
    with pytest.raises(MetaftError, match=message):
        attach(network_of("bert"), spec)


def test_a_text_of_unknown_words_is_refused() -> None:
    network = network_of("bert")
    network.tokenizer = tokenizer()
    with pytest.raises(MetaftError, match="holds no words"):
        attach(network, "prompt:text= ")
    made = json.loads(tokenizer().text)
    made["model"]["vocab"]["far"] = 99
    network.tokenizer = Tokenizer(json.dumps(made), "other")
    with pytest.raises(MetaftError, match="numbers beyond its 11 words"):
        attach(network, "prompt:text=far")


@pytest.mark.parametrize("activation", ["none", "relu", "gelu", "tanh"])
def test_a_map_of_word_vectors_is_another_matrix_of_words(activation: str) -> None:
    network = network_of("bert")
    added = moved(attach(network, f"input-map:rank=3,activation={activation}"))
    own: dict[str, Any] = placed(added, "input-map")["embedding.words"].own()
    f = getattr(nn.functional, activation, getattr(torch, activation, lambda x: x))
    table = network.embedding.words.weight.detach()
    with torch.no_grad():
        lifted = table + nn.functional.linear(
            f(nn.functional.linear(table, own["A"], own["a"])), own["B"], own["b"]
        )  # fmt: skip
        expected_scores = network.embedding.words.weight.clone()
        network.embedding.words.weight.copy_(lifted)
        torch.testing.assert_close(added(TEXTS), network(TEXTS), rtol=1e-10, atol=1e-10)
        last = network.states(TEXTS)[-1]
        torch.testing.assert_close(added.words(TEXTS), last @ expected_scores.T, rtol=1e-10, atol=1e-10)


def test_a_map_behind_a_prompt_maps_it_too() -> None:
    network = network_of("bert")
    for order, mapped in (("prompt:length=2+input-map", True), ("input-map+prompt:length=2", False)):
        added = attach(network, order)
        placed(added, "input-map")["embedding.words"].b.data += 1
        x = added.embedding.words(torch.tensor([[11, 12, 3]]))[0]
        plain = placed(added, "prompt")["embedding.words"].vectors
        torch.testing.assert_close(x[:2], plain + float(mapped))
        torch.testing.assert_close(x[2], network.embedding.words.weight[3] + 1)
