"""A small pretrained BERT in a folder, and runs that stand on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from metaft.cli import cli
from metaft.data.texts.tokenizer import trained

WORDS = [f"{word} of the {thing}" for word in ("price", "name", "age", "colour") for thing in ("cat", "house", "king")]
SMALL = (
    "--dataset", "intents", "--workers", 1, "--engine", "eager", "--validate-tasks", 2, "--test-tasks", 2, "--quiet",
    "--validate-every", 1, "--outer-lr", 0.1,
)  # fmt: skip
FEW = ("--ways", 2, "--queries", 1, "--tasks", 1)


def small_bert(folder: Path) -> Path:
    """Write one of one layer, with a tokenizer.

    Args:
        folder: where to.
    """
    transformers: Any = pytest.importorskip("transformers", reason="the extra text is not installed")
    own = trained(WORDS, 60)
    config = transformers.BertConfig(
        vocab_size=own.vocabulary, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=128, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(own.text)
    return folder


def run(*words: object) -> Any:
    """A command."""
    return CliRunner().invoke(cli, [str(word) for word in words])


def done(*words: object) -> str:
    """What a command prints that succeeds."""
    found = run(*words)
    assert found.exit_code == 0, found.output
    return str(found.output)
