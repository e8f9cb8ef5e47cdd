"""Named sizes of the transformer: as many parameters as Hugging Face's modules of that size, and as was published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from metaft.cli import cli
from metaft.errors import MetaftError
from metaft.models import build
from metaft.models.places import places_of
from metaft.models.presets import PRESETS
from metaft.models.transformer import Transformer

WORDS = {"bert": 30_522, "gpt": 50_257, "llama": 49_152}
SMOLL = "smollm2-135m"
PUBLISHED = {
    "bert-tiny": 4.4, "bert-mini": 11.3, "bert-small": 29.1, "bert-medium": 41.7, "bert-base": 110.1, "gpt2": 124.4,
    "minilm": 22.7, SMOLL: 134.5,
}  # fmt: skip
"""Millions, with BERT's layer on ``[CLS]``."""


def body(preset: str) -> int:
    """Parameters of ours without the head."""
    shape = PRESETS[preset]["shape"]
    with torch.device("meta"):
        model = Transformer(WORDS[shape], 1, preset=preset, separator=3 if shape == "bert" else None)
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith("head"))


def theirs(preset: str) -> int:
    transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
    size = PRESETS[preset]
    width, layers, heads, places = size["width"], size["layers"], size["heads"], size["places"]
    shared = {"vocab_size": WORDS[size["shape"]], "pad_token_id": 0}
    named = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
             "max_position_embeddings": places, "intermediate_size": size.get("inner", 4 * width)}  # fmt: skip
    with torch.device("meta"):
        if size["shape"] == "bert":
            model = transformers.BertModel(transformers.BertConfig(**shared, **named), add_pooling_layer=False)
        elif size["shape"] == "gpt":
            own = {"n_embd": width, "n_layer": layers, "n_head": heads, "n_positions": places}
            model = transformers.GPT2Model(transformers.GPT2Config(**shared, **own))
        else:
            keys = {"num_key_value_heads": size.get("key_heads", heads)}
            model = transformers.LlamaModel(transformers.LlamaConfig(**shared, **named, **keys))
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("preset", PRESETS)
def test_sizes_are_those_of_hugging_face(preset: str) -> None:
    assert body(preset) == theirs(preset)


@pytest.mark.parametrize("preset", PUBLISHED)
def test_sizes_are_the_published_ones(preset: str) -> None:
    width = PRESETS[preset]["width"]
    pooled = width * (width + 1) if preset.startswith("bert") else 0
    assert (body(preset) + pooled) / 1e6 == pytest.approx(PUBLISHED[preset], rel=0.015)


def test_other_options_go_before_a_preset() -> None:
    made: Any = build("transformer:preset=bert-tiny,layers=1,places=16", outputs=2, seed=0, vocabulary=20)
    assert (len(made.blocks), made.blocks[0].attention.heads, made.embedding.places.num_embeddings) == (1, 2, 16)
    assert made.embedding.words.embedding_dim == 128
    plain: Any = build("transformer", outputs=2, seed=0, vocabulary=20)
    assert (len(plain.blocks), plain.embedding.words.embedding_dim, plain.causal) == (4, 256, False)
    assert places_of("transformer:preset=gpt2") == 1024
    assert places_of("transformer:preset=gpt2,places=64") == 64
    assert places_of(f"transformer:preset={SMOLL}") is None
    with pytest.raises(MetaftError, match="unknown preset 'bert-tini' of a transformer; did you mean 'bert-tiny'"):
        build("transformer:preset=bert-tini", outputs=2, seed=0)


def test_a_language_model_takes_the_shape_of_its_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sea.txt").write_text("\n\n".join(["The sea was calm. Nobody spoke of the storm."] * 40))
    words = ["pretrain", "--dataset", "sea.txt", "--iterations", "1", "--batch-size", "2", "--length", "16", "--quiet"]
    words += [
        "--validate-tasks",
        "2",
        "--threads",
        "1",
        "--model",
        "transformer:preset=stories15m,layers=1,width=12,heads=2",
    ]
    done = CliRunner().invoke(cli, [*words, "--objective", "causal", "--tokenizer", "bpe:size=270", "--out", "run"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(
        cli, [*words, "--objective", "masked", "--tokenizer", "wordpiece:size=60", "--out", "other"]
    )
    assert (done.exit_code, "asks for shape=bert" in done.stderr) == (2, True), done.output
