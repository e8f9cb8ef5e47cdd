"""Every addition of the table: no effect at the start, names kept, and the meta-gradient that of plain autograd."""

from __future__ import annotations

import copy
import pickle
import tempfile
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

import metaft
from metaft.additions import Addition, attach, freeze_base, merged, only, without
from metaft.additions.context import Context
from metaft.errors import MetaftError
from metaft.inner.scope import select
from metaft.learners.maml import MAML
from metaft.models import MLP, Conv4
from metaft.models.anatomy import anatomy
from metaft.tables import ADDITIONS
from metaft.tasks.batch import TaskBatch


class Transformer(nn.Module):
    """Words, torch's own attention, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The mean over places, to three classes."""
        return self.head(self.encoder(self.words(x)).mean(1))


def theirs(kind: str, **more: Any) -> Any:
    """A network of Hugging Face's as small as may be."""

    def make() -> nn.Module:
        transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
        shape: dict[str, Any] = {
            "vocab_size": 11, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 40, "pad_token_id": 0,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, **more,
        }  # fmt: skip
        if kind == "gpt2":
            shape = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 40, "vocab_size": 11, "pad_token_id": 0}
            shape |= {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
        with tempfile.TemporaryDirectory() as folder:
            transformers.AutoConfig.for_model(kind, **shape).save_pretrained(folder)
            return in_full_precision(metaft.models.build(f"hf:{folder}:weights=random", outputs=3, seed=0))

    return make


def in_full_precision(network: nn.Module) -> nn.Module:
    """With norms that compute in the precision of the weights; those of a Llama do in float32."""
    for name, part in list(network.named_modules()):
        if type(part).__name__ == "LlamaRMSNorm":
            network.set_submodule(name, nn.RMSNorm(len(part.weight), eps=part.variance_epsilon))
    return network


def ours(shape: str) -> Any:
    return lambda: metaft.models.build(
        "transformer", outputs=3, seed=0, vocabulary=11, layers=2, width=8, heads=2, inner=12, shape=shape
    )


MODELS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "mlp": (lambda: MLP(4, 3, hidden=(5, 5), std=0.5), (4,)),
    "conv4": (lambda: Conv4(1, 16, 3, hidden=3), (1, 16, 16)),
    "layer": (lambda: nn.Linear(4, 3), (4,)),
    "torch": (Transformer, (6,)),
    "bert": (ours("bert"), (6,)),
    "gpt": (ours("gpt"), (6,)),
    "llama": (ours("llama"), (6,)),
    "hf-bert": (theirs("bert"), (6,)),
    "hf-gpt2": (theirs("gpt2"), (6,)),
    "hf-llama": (theirs("llama", num_key_value_heads=1), (6,)),
}
"""Network → what makes one, and the shape of an example."""

REFUSED = {
    ("ia3", "layer"): "hidden activations",
    ("ia3", "torch"): "attention=no",
    **{
        (name, model): "takes none in"
        for name in ("prompt", "prompt-pool", "conditional-prompt", "deep-prompt")
        for model in ("mlp", "conv4", "layer", "torch")
    },
    **{("input-map", model): "the vectors of words" for model in ("mlp", "conv4", "layer")},
    ("adapter", "layer"): "behind each block but the head",
    ("compacter", "layer"): "behind each block but the head",
    ("prefix", "mlp"): "this MLP has none",
    ("prefix", "conv4"): "this Conv4 has none",
    ("prefix", "layer"): "this Linear has none",
    ("prefix", "torch"): "shows no one its keys and values",
    ("compacter", "mlp"): "no multiple of n = 4",
    ("compacter", "conv4"): "no multiple of n = 4",
}
"""What goes together with no network, and what the message says."""

MERGEABLE = ("lora", "ia3")
"""Additions that a layer's own weight can take in."""

OF_A_FOLDER = ("peft",)
"""Additions whose values come from a file (see ``test_exchange``)."""

NAMES = [name for name in ADDITIONS if name not in OF_A_FOLDER]
EVERY = [(name, model) for name in NAMES for model in MODELS if (name, model) not in REFUSED]


def network_of(model: str) -> nn.Module:
    """The network, none of its parameters at a special value."""
    torch.manual_seed(0)
    network = MODELS[model][0]().double().eval()
    for p in network.parameters():  # a head that begins at 0 would answer 0 whatever is added
        p.data += 0.3 * torch.randn(p.shape, dtype=p.dtype)
    return network


def made(name: str, model: str) -> tuple[nn.Module, nn.Module, TaskBatch]:
    """The network, the network with the addition, some tasks."""
    network, shape = network_of(model), MODELS[model][1]
    draw = torch.Generator().manual_seed(1)

    def examples(count: int) -> Tensor:
        if len(shape) == 1 and shape[0] == 6:  # texts of one to six words
            ids = torch.randint(1, 11, (2, count, *shape), generator=draw)
            lengths = torch.randint(1, 7, (2, count, 1), generator=draw)
            return ids if model == "torch" else ids * (torch.arange(6) < lengths)
        return torch.rand(2, count, *shape, generator=draw, dtype=torch.float64)

    labels = torch.arange(3).repeat(2, 2)
    batch = TaskBatch(examples(6), labels, examples(6), labels)
    return network, attach(network, ADDITIONS.make(name), seed=2), batch


def moved(network: nn.Module) -> nn.Module:
    """A copy whose added parameters are not at their start any more."""
    other, draw = copy.deepcopy(network), torch.Generator().manual_seed(3)
    for name, p in other.named_parameters():
        if name.split(".")[-2:-1] and name.split(".")[-2] in ADDITIONS:
            p.data += 0.1 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return other


@pytest.mark.share(5)
@pytest.mark.parametrize(("name", "model"), EVERY)
def test_it_has_no_effect_at_the_start_and_one_later(name: str, model: str) -> None:
    network, added, batch = made(name, model)
    x = batch.query_x[0]
    assert torch.equal(added(x), network(x)) == ADDITIONS.make(name).silent
    assert not torch.allclose(moved(added)(x), added(x))
    own = dict(network.named_parameters())
    new = set(dict(added.named_parameters())) - set(own)
    assert set(own) < set(dict(added.named_parameters()))
    assert all(n.split(".")[-2] == name and ":" not in n for n in new)
    again = attach(network, ADDITIONS.make(name), seed=2)
    assert all(torch.equal(p, dict(again.named_parameters())[n]) for n, p in added.named_parameters())
    for copied in (copy.deepcopy(moved(added)), pickle.loads(pickle.dumps(moved(added)))):
        assert torch.equal(copied(x), moved(added)(x))


@pytest.mark.share(5)
@pytest.mark.parametrize(("name", "model"), EVERY)
def test_it_can_be_left_out_taken_out_and_merged(name: str, model: str) -> None:
    network, added, batch = made(name, model)
    added, x = moved(added), batch.query_x[0]
    assert torch.equal(only(added)(x), network(x))
    assert torch.equal(only(added, name)(x), added(x))
    assert torch.equal(without(added, name)(x), network(x))
    assert list(without(added, name).state_dict()) == list(network.state_dict())
    if name not in MERGEABLE:
        with pytest.raises(MetaftError, match="cannot be merged"):
            merged(added, name)
        return
    whole = merged(added, name)
    torch.testing.assert_close(whole(x), added(x), rtol=1e-9, atol=1e-9)
    assert list(whole.state_dict()) == list(network.state_dict())


@pytest.mark.share(5)
@pytest.mark.parametrize(("name", "model"), EVERY)
def test_padding_changes_no_answer(name: str, model: str) -> None:
    _, added, batch = made(name, model)
    x = batch.query_x[0]
    if x.is_floating_point() or model == "torch":
        pytest.skip("its examples have no padding")
    more = nn.functional.pad(x, (0, 3))
    other = moved(added)
    torch.testing.assert_close(other(more), other(x), rtol=1e-10, atol=1e-10)
    alone = torch.cat([other(text[text != 0][None]) for text in x])
    torch.testing.assert_close(other(x), alone, rtol=1e-10, atol=1e-10)


@pytest.mark.share(5)
@pytest.mark.parametrize(("name", "model"), EVERY)
def test_a_frozen_base_is_bit_identical_after_training(name: str, model: str) -> None:
    network, added, batch = made(name, model)
    learner = MAML(freeze_base(added), metaft.SGD(0.1), 1)
    out = learner.meta_gradient(batch)
    own = {n for n in learner.trains if n.split(".")[-2:-1] == [name]}
    assert own
    assert any(out.grads[n].abs().max() > 0 for n in own)
    moved_ones = {n: learner.params[n] - out.grads[n] for n in learner.trains}
    head = anatomy(network).head
    for n, p in network.named_parameters():
        inside = head == "" or n.startswith(f"{head}.")
        assert inside or (n not in moved_ones and torch.equal(learner.params[n], p))


@pytest.mark.parametrize(("name", "model"), REFUSED)
def test_what_has_no_place_in_a_network_is_refused(name: str, model: str) -> None:
    with pytest.raises(MetaftError, match=REFUSED[name, model]):
        attach(network_of(model), name)


@pytest.mark.parametrize(
    ("name", "model", "scope"),
    [
        *((name, model, "all") for name, model in EVERY),
        # A scope chooses by name, whoever built the network: our own three of the same shapes are enough.
        *(
            pytest.param(name, model, "addition", marks=[pytest.mark.long] * model.startswith("hf-"))
            for name, model in EVERY
        ),
    ],
)
def test_its_meta_gradient_is_that_of_plain_autograd(name: str, model: str, scope: str) -> None:
    _, added, batch = made(name, model)
    added = moved(added)
    learner = MAML(added, metaft.SGD(0.1), 2, scope=name if scope == "addition" else scope)
    out = learner.meta_gradient(batch)
    names = [n for n, _ in added.named_parameters()]
    assert set(learner.adapts) == set(select(names, name) if scope == "addition" else names)
    leaves = {n: p.detach().clone().requires_grad_() for n, p in added.named_parameters()}
    training = copy.deepcopy(added).train()  # batch norm by the batch
    total: Any = 0
    with sdpa_kernel(SDPBackend.MATH):  # the fused one has no second derivative
        for task in range(batch.tasks):
            params = dict(leaves)
            for _ in range(2):
                answer = functional_call(training, params, (batch.support_x[task],))
                loss = nn.functional.cross_entropy(answer, batch.support_y[task])
                grads = torch.autograd.grad(
                    loss, [params[n] for n in learner.adapts], create_graph=True, materialize_grads=True
                )
                params |= {n: params[n] - 0.1 * g for n, g in zip(learner.adapts, grads, strict=True)}
            answer = functional_call(training, params, (batch.query_x[task],))
            total = total + nn.functional.cross_entropy(answer, batch.query_y[task]) / batch.tasks
        plain = torch.autograd.grad(total, [leaves[n] for n in learner.trains], materialize_grads=True)
    for n, gradient in zip(learner.trains, plain, strict=True):
        torch.testing.assert_close(out.grads[n], gradient, rtol=1e-9, atol=1e-11)


def test_what_comes_before_a_layer_and_after_it() -> None:
    class Doubled(Addition):
        name = "doubled"

        def sites(self, model: nn.Module) -> tuple[str, ...]:
            return ("1",)

        def create(self, layer: nn.Module, draw: torch.Generator) -> dict[str, Tensor]:
            return {"scale": torch.ones(()), "shift": torch.zeros(())}

        def before(self, own: dict[str, Tensor], x: Tensor) -> Tensor:
            return own["scale"] * x

        def after(self, own: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return y + own["shift"] * x.sum()

    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    added, x = attach(model, Doubled()), torch.rand(4, 2)
    with torch.no_grad():
        added[1].doubled.scale.fill_(2.0)
        added[1].doubled.shift.fill_(3.0)
    h = 2 * model[0](x)
    torch.testing.assert_close(added(x), h.tanh() + 3 * h.sum())


def test_what_would_never_run_is_refused() -> None:
    class OnAttention(Context):
        def sites(self, model: nn.Module) -> tuple[str, ...]:
            return ("encoder.self_attn.out_proj",)

    with pytest.raises(MetaftError, match=r"nothing can be added to 'encoder.self_attn.out_proj'"):
        attach(Transformer(), OnAttention(3))


def test_a_scope_that_names_an_addition_that_is_not_there_is_an_error() -> None:
    with pytest.raises(MetaftError, match="scope 'context' matches no parameter"):
        MAML(MLP(2, 2), metaft.SGD(0.1), 1, scope="context")
