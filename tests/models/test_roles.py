"""What each parameter of a transformer is for, counted out on each architecture."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import metaft
from metaft.errors import MetaftError
from metaft.inner.scope import select, spelled_out
from metaft.models import build
from metaft.models.anatomy import anatomy
from metaft.models.roles import ROLES

Table = dict[str, list[str]]
KINDS = ("embedding", "attention", "feed-forward", "norms", "head")
"""Every parameter has one of these, or none."""


class Read(nn.Module):
    """Words through a part of torch's, to a head."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.words, self.part, self.head = nn.Embedding(11, 8), part, nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        x = self.part(x, x, x)[0] if isinstance(self.part, nn.MultiheadAttention) else self.part(x)
        return self.head(x.mean(1))


def ours(shape: str) -> nn.Module:
    return build("transformer", outputs=3, seed=0, vocabulary=30, layers=2, width=8, heads=2, shape=shape)


def theirs(kind: str) -> Callable[[], nn.Module]:
    """A network of Hugging Face's as small as may be."""

    def make() -> nn.Module:
        transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
        shape: dict[str, Any] = {
            "vocab_size": 30, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 40, "pad_token_id": 0,
        }  # fmt: skip
        if kind == "gpt2":
            shape = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 40, "vocab_size": 30, "pad_token_id": 0}
        with tempfile.TemporaryDirectory() as folder:
            transformers.AutoConfig.for_model(kind, **shape).save_pretrained(folder)
            return build(f"hf:{folder}:weights=random", outputs=3, seed=0)

    return make


def both(*names: str) -> list[str]:
    """Names of weights and biases."""
    return [f"{name}.{part}" for name in names for part in ("weight", "bias")]


def weights(*names: str) -> list[str]:
    return [f"{name}.weight" for name in names]


def layers(names: list[str]) -> list[str]:
    """Names of two layers."""
    return [name.replace("#", str(i)) for i in range(2) for name in names]


OURS = {
    "embedding": weights("embedding.words", "embedding.places"),
    "query": layers(both("blocks.#.attention.query")),
    "key": layers(both("blocks.#.attention.key")),
    "value": layers(both("blocks.#.attention.value")),
    "output": layers(both("blocks.#.attention.output")),
    "feed-forward": layers(both("blocks.#.feed_forward.up", "blocks.#.feed_forward.down")),
}
NORMS = layers(both("blocks.#.attention_norm", "blocks.#.feed_forward_norm"))
ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], Table]] = {
    "bert of ours": (lambda: ours("bert"), {**OURS, "norms": both("embedding.norm") + NORMS}),
    "gpt of ours": (lambda: ours("gpt"), {**OURS, "norms": NORMS + both("norm")}),
    "llama of ours": (lambda: ours("llama"), {
        "embedding": weights("embedding.words"),
        **{part: layers(weights(f"blocks.#.attention.{part}")) for part in ("query", "key", "value", "output")},
        "feed-forward": layers(weights(*(f"blocks.#.feed_forward.{part}" for part in ("gate", "up", "down")))),
        "norms": [*layers(weights("blocks.#.attention_norm", "blocks.#.feed_forward_norm")), "norm.weight"],
    }),
    "BERT": (theirs("bert"), {
        "embedding": weights(*(f"model.embeddings.{part}_embeddings" for part in ("word", "position", "token_type"))),
        "query": layers(both("model.encoder.layer.#.attention.self.query")),
        "key": layers(both("model.encoder.layer.#.attention.self.key")),
        "value": layers(both("model.encoder.layer.#.attention.self.value")),
        "output": layers(both("model.encoder.layer.#.attention.output.dense")),
        "feed-forward": layers(both("model.encoder.layer.#.intermediate.dense", "model.encoder.layer.#.output.dense")),
        "norms": both("model.embeddings.LayerNorm") + layers(both(
            "model.encoder.layer.#.attention.output.LayerNorm", "model.encoder.layer.#.output.LayerNorm")),
    }),
    "GPT-2": (theirs("gpt2"), {
        "embedding": weights("model.wte", "model.wpe"),
        "attention": layers(both("model.h.#.attn.c_attn", "model.h.#.attn.c_proj")),
        "output": layers(both("model.h.#.attn.c_proj")),
        "feed-forward": layers(both("model.h.#.mlp.c_fc", "model.h.#.mlp.c_proj")),
        "norms": layers(both("model.h.#.ln_1", "model.h.#.ln_2")) + both("model.ln_f"),
    }),
    "Llama": (theirs("llama"), {
        "embedding": weights("model.embed_tokens"),
        "query": layers(weights("model.layers.#.self_attn.q_proj")),
        "key": layers(weights("model.layers.#.self_attn.k_proj")),
        "value": layers(weights("model.layers.#.self_attn.v_proj")),
        "output": layers(weights("model.layers.#.self_attn.o_proj")),
        "feed-forward": layers(weights(*(f"model.layers.#.mlp.{part}_proj" for part in ("gate", "up", "down")))),
        "norms": [*layers(weights("model.layers.#.input_layernorm", "model.layers.#.post_attention_layernorm")),
                  "model.norm.weight"],
    }),
    "TransformerEncoderLayer": (lambda: Read(nn.TransformerEncoderLayer(8, 2, 8, 0.0, batch_first=True)), {
        "embedding": ["words.weight"],
        "attention": ["part.self_attn.in_proj_weight", "part.self_attn.in_proj_bias", *both("part.self_attn.out_proj")],
        "output": both("part.self_attn.out_proj"),
        "feed-forward": both("part.linear1", "part.linear2"),
        "norms": both("part.norm1", "part.norm2"),
    }),
    "MultiheadAttention": (lambda: Read(nn.MultiheadAttention(8, 2, kdim=8, vdim=8, add_bias_kv=True)), {
        "embedding": ["words.weight"],
        "attention": ["part.in_proj_weight", "part.in_proj_bias", "part.bias_k", "part.bias_v", *both("part.out_proj")],
        "output": both("part.out_proj"),
    }),
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", ARCHITECTURES)


@EVERY
def test_every_parameter_has_one_role_and_it_is_the_right_one(name: str) -> None:
    make, table = ARCHITECTURES[name]
    model = make()
    every = [n for n, _ in model.named_parameters()]
    expected = {"head": both("head"), **table}
    parts = [n for role in ("query", "key", "value", "output") for n in table.get(role, [])]
    expected.setdefault("attention", parts)
    assert sorted(n for kind in KINDS for n in expected.get(kind, [])) == sorted(every)  # the table counts all of them
    for role in ROLES:
        fused = role in ("query", "key", "value") and role not in table
        if fused or role not in expected:
            said = "take scope 'attention'" if fused else "no layer of this network has it"
            with pytest.raises(MetaftError, match=said):
                spelled_out(role, model)
        else:
            assert sorted(select(every, spelled_out(role, model))) == sorted(expected[role])
    for n, roles in anatomy(model).roles.items():
        assert len(set(roles) & set(KINDS)) == 1, n


@EVERY
def test_blocks_are_the_embedding_the_layers_and_the_head(name: str) -> None:
    model = ARCHITECTURES[name][0]()
    every = [n for n, _ in model.named_parameters()]
    blocks = anatomy(model).blocks()
    assert sorted(n for names in blocks.values() for n in names) == sorted(every)
    if name in ("TransformerEncoderLayer", "MultiheadAttention"):
        assert list(blocks) == ["words", "part", "head"]
        return
    first, *between, last = blocks.values()
    assert len(between) == 2
    assert sorted(last) == sorted(both("head"))
    embedding = set(select(every, spelled_out("embedding", model)))
    assert embedding <= set(first)
    assert not any("attention" in anatomy(model).roles[n] for n in first)
    final = {"norm.weight", "norm.bias", "model.norm.weight", "model.ln_f.weight", "model.ln_f.bias"} & set(every)
    assert final <= set(between[1])  # what comes last belongs to the last layer
    assert set(select(every, spelled_out("last:2", model))) == {*between[1], *last}


def test_a_network_of_other_layers_has_none_but_its_norms() -> None:
    model = build("conv4", outputs=3, input_shape=(1, 16, 16), seed=0, hidden=4)
    assert {role for roles in anatomy(model).roles.values() for role in roles} == {"norms", "head"}
    with pytest.raises(MetaftError, match="no layer of this network has it"):
        spelled_out("attention", model)
    with pytest.raises(MetaftError, match="the names of parameters alone do not tell it"):
        select(["a.weight", "b.weight"], "attention")


def test_what_is_added_to_an_attention_is_not_the_attention() -> None:
    model = metaft.additions.attach(ours("bert"), "lora:rank=2", seed=0)
    every = [n for n, _ in model.named_parameters()]
    assert sorted(select(every, spelled_out("query", model))) == sorted(OURS["query"])
    assert all(anatomy(model).roles[n] == () for n in every if ".lora." in n)


@pytest.mark.parametrize("scope", ["attention,!biases", "norms,head", "value,output"])
def test_only_the_role_moves(scope: str) -> None:
    learner = metaft.learners.MAML(ours("bert"), metaft.SGD(0.1), 1, scope=scope)
    every = [n for n, _ in ours("bert").named_parameters()]
    expected = set(select(every, spelled_out(scope, ours("bert"))))
    assert set(learner.adapts) == expected
    ids = torch.randint(1, 30, (2, 3, 5))
    batch = metaft.TaskBatch(ids, torch.arange(3).repeat(2, 1), ids, torch.arange(3).repeat(2, 1))
    assert set(learner._answering(1, batch).start(learner.params)) == expected
