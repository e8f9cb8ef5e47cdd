"""The pretraining rows: words a second of a BERT and a GPT, beside Hugging Face's modules in a plain loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.clock import Entrant
from benchmarks.speed.row import US, Prepared, Row, attempt
from metaft.language.learner import LanguageLearner
from metaft.language.model import LanguageModel
from metaft.language.passages import Words
from metaft.models import build
from metaft.tables import OUTER
from metaft.tasks.batch import IGNORE
from metaft.training.state import TrainState

THEM = "Hugging Face"
SHAPE = {"layers": 4, "width": 256, "heads": 4, "vocabulary": 4096, "places": 128}
PASSAGES, PLACES, SHARE, RATE = 16, 128, 0.15, 1e-3
BATCHES = 8

BERT = {
    "embedding.words": "embeddings.word_embeddings", "embedding.places": "embeddings.position_embeddings",
    "embedding.norm": "embeddings.LayerNorm",
    "attention.query": "attention.self.query", "attention.key": "attention.self.key",
    "attention.value": "attention.self.value", "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm", "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense", "feed_forward_norm": "output.LayerNorm",
}  # fmt: skip
"""Layers of ours → those of Hugging Face's BERT."""
GPT = {
    "embedding.words": "wte", "embedding.places": "wpe", "attention.output": "attn.c_proj", "attention_norm": "ln_1",
    "feed_forward.up": "mlp.c_fc", "feed_forward.down": "mlp.c_proj", "feed_forward_norm": "ln_2", "norm": "ln_f",
}  # fmt: skip
"""Layers of ours → those of Hugging Face's GPT-2; queries, keys and values are one layer there."""


def batch(causal: bool, index: int, passages: int = PASSAGES) -> Words:
    """Passages of random words: what they are makes no difference to the time.

    Args:
        causal: whether the next words are asked for, else 15% of the words.
        index: which batch.
        passages: how many.

    Returns:
        The batch.
    """
    draw = torch.Generator().manual_seed(index)
    ids = torch.randint(5, SHAPE["vocabulary"], (passages, PLACES + 1), generator=draw)
    x, y = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    if not causal:
        asked = torch.rand(x.shape, generator=draw).argsort(1) < round(SHARE * PLACES)
        y = torch.where(asked, x, IGNORE)
        x = torch.where(asked, 4, x)
    order = torch.full((passages,), IGNORE)
    return Words(x[:, :0], y[:, :0], x, y, layout="sequences", order=order)


def ours(causal: bool) -> LanguageModel:
    """Our network."""
    return LanguageModel(build("transformer", outputs=1, seed=0, shape="gpt" if causal else "bert", **SHAPE))


def theirs(causal: bool, model: LanguageModel) -> nn.Module:
    """Hugging Face's network of the same shape and weights, without dropout.

    Args:
        causal: GPT-2's shape, else BERT's.
        model: whose weights it takes.
    """
    import transformers

    layers, width, heads = SHAPE["layers"], SHAPE["width"], SHAPE["heads"]
    if causal:
        config = transformers.GPT2Config(
            vocab_size=SHAPE["vocabulary"], n_positions=PLACES, n_embd=width, n_layer=layers, n_head=heads,
            activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )  # fmt: skip
        made: Any = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.BertConfig(
            vocab_size=SHAPE["vocabulary"], hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=4 * width, max_position_embeddings=PLACES, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        made = transformers.BertForMaskedLM(config)
    named = _as_gpt(model.state_dict()) if causal else _as_bert(model.state_dict())
    missing = made.load_state_dict(named, strict=False)
    assert not missing.unexpected_keys, missing.unexpected_keys
    return made.train()


def _as_bert(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {"bert.embeddings.token_type_embeddings.weight": torch.zeros(2, SHAPE["width"])}
    for name, value in own.items():
        if name == "words.bias":
            found["cls.predictions.bias"] = found["cls.predictions.decoder.bias"] = value
        elif name.startswith("words.change"):
            layer = "dense" if ".0." in name else "LayerNorm"
            found[f"cls.predictions.transform.{layer}.{name.rpartition('.')[2]}"] = value
        else:
            layer, _, kind = name.removeprefix("transformer.").rpartition(".")
            block = layer.split(".")[1] if layer.startswith("blocks") else None
            short = layer.split(".", 2)[2] if block else layer
            found[f"bert.{f'encoder.layer.{block}.' if block else ''}{BERT[short]}.{kind}"] = value
    found["cls.predictions.decoder.weight"] = own["transformer.embedding.words.weight"]
    return found


def _as_gpt(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {"lm_head.weight": own["transformer.embedding.words.weight"]}
    for name, value in own.items():
        layer, _, kind = name.removeprefix("transformer.").rpartition(".")
        block = layer.split(".")[1] if layer.startswith("blocks") else None
        short = layer.split(".", 2)[2] if block else layer
        if short not in GPT:
            continue
        matrix = block and kind == "weight" and "norm" not in short
        where = f"transformer.{f'h.{block}.' if block else ''}{GPT[short]}.{kind}"
        found[where] = value.T if matrix else value
    for block in range(SHAPE["layers"]):
        for kind in ("weight", "bias"):
            parts = [own[f"transformer.blocks.{block}.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            whole = torch.cat(parts)
            found[f"transformer.h.{block}.attn.c_attn.{kind}"] = whole.T if kind == "weight" else whole
    return found


def _metaft(causal: bool) -> Callable[[], float]:
    """As ``metaft pretrain``: gradient, then AdamW."""
    learner = LanguageLearner(ours(causal))
    state = TrainState.start(learner.params, 0.0, torch.device("cpu"), OUTER.make("adamw:weight_decay=0.01", lr=RATE))
    learner.params = state.weights
    batches = [batch(causal, index) for index in range(BATCHES)]

    def train() -> float:
        total = 0.0
        for one in batches:
            out = learner.meta_gradient(one)
            state.step(out.grads, RATE)
            total += float(out.loss)
        return total / BATCHES

    return train


def _hugging_face(causal: bool) -> Callable[[], float]:
    """A plain loop: gradient by ``backward``, then AdamW."""
    model: Any = theirs(causal, ours(causal))
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    batches = [batch(causal, index) for index in range(BATCHES)]

    def train() -> float:
        total = 0.0
        for one in batches:
            optimiser.zero_grad()
            # Their models shift labels by a place themselves.
            labels = torch.cat([one.query_x[:, :1], one.query_y[:, :-1]], 1) if causal else one.query_y
            loss = model(input_ids=one.query_x, labels=labels).loss
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
        return total / BATCHES

    return train


LOOPS: dict[str, Callable[[bool], Callable[[], float]]] = {US: _metaft, THEM: _hugging_face}


def loss_difference(causal: bool) -> float:
    """Relative difference of both networks' losses with the same weights and words, float64."""
    one, learner = batch(causal, 0, 2), LanguageLearner(ours(causal).double())
    if causal:  # theirs leaves out the last place
        one.query_y[:, -1] = IGNORE
    mine = float(learner.meta_gradient(one).losses.mean())
    labels = torch.cat([one.query_x[:, :1], one.query_y[:, :-1]], 1) if causal else one.query_y
    other: Any = theirs(causal, ours(causal)).double()
    return abs(mine - float(other(input_ids=one.query_x, labels=labels).loss.detach())) / mine


def preparing(causal: bool) -> Callable[[str, bool], Prepared]:
    """The row's ``prepare``."""

    def prepare(name: str, quick: bool) -> Prepared:
        error = attempt(lambda: loss_difference(causal)) if name == THEM else 0.0
        made = attempt(lambda: LOOPS[name](causal)) if not isinstance(error, str) else error
        if isinstance(made, str):
            return Prepared(None, made)
        agreement = error if isinstance(error, float) and name == THEM else None
        return Prepared(Entrant(made, units=BATCHES * PASSAGES * PLACES), None, agreement)

    return prepare


ROWS = {
    f"pretraining-{name}": Row(f"Pretraining a {name.upper()}, 4 layers of 256, 16 passages of 128 words, AdamW",
                               "word", (US, THEM), preparing(causal), rivals=(THEM,), target=1.4, rate="product")
    for name, causal in (("bert", False), ("gpt", True))
}  # fmt: skip
