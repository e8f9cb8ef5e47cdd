"""``metaft export``: what a run has learned, read by peft, by transformers and by a further run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor, nn

from metaft.additions import attach
from metaft.assembly.backbone import load_backbone
from metaft.cli import cli
from metaft.data.texts.tokenizer import trained
from metaft.models import build

transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
WORDS = [f"{word} of the {thing}" for word in ("price", "name", "age", "colour") for thing in ("cat", "house", "king")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with a tokenizer."""
    folder, own = tmp_path_factory.mktemp("bert"), trained(WORDS, 60)
    config = transformers.BertConfig(
        vocab_size=own.vocabulary, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=128, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(own.text)
    return folder


def run(*words: object) -> Any:
    """A command."""
    return CliRunner().invoke(cli, [str(word) for word in words])


def meta_train(base: Path | str, out: Path, addition: str | None, *more: str) -> Path:
    """A run of one iteration."""
    words = ["--dataset", "intents", "--ways", "2", "--queries", "1", "--tasks", "1", "--iterations", "1"]
    words += [
        "--workers",
        "1",
        "--engine",
        "eager",
        "--validate-tasks",
        "2",
        "--test-tasks",
        "2",
        "--outer-lr",
        "0.3",
        "--quiet",
    ]
    words += ["--addition", addition] if addition else []
    done = run("meta-train", *words, "--model", f"hf:{base}", "--learner", "fomaml", "--out", out, *more)
    assert done.exit_code == 0, done.output
    return out


def answers(network: Any, head: dict[str, Tensor], ids: Tensor) -> Tensor:
    """Of a model of theirs, the mean over words, and our head."""
    states = network(input_ids=ids).last_hidden_state.mean(1)
    return nn.functional.linear(states, head["head.weight"], head["head.bias"])


def test_a_run_goes_to_both_libraries_and_into_a_further_run(base: Path, tmp_path: Path) -> None:
    out = meta_train(base, tmp_path / "run", "lora:rank=2,alpha=3,on=all")
    network = load_backbone(out).eval()
    ids = torch.randint(5, 40, (3, 6), generator=torch.Generator().manual_seed(0))
    plain = build(f"hf:{base}", outputs=2, seed=0).eval()
    assert any(p.abs().max() > 0.1 for n, p in network.named_parameters() if n.endswith("lora.B"))

    done = run("export", out, "--format", "hf", "--out", tmp_path / "whole")
    assert done.exit_code == 0, done.output
    whole = transformers.AutoModel.from_pretrained(tmp_path / "whole").eval()
    head = load_file(tmp_path / "whole" / "head.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(answers(whole, head, ids), network(ids), rtol=1e-6, atol=1e-6)
        words = transformers.AutoTokenizer.from_pretrained(tmp_path / "whole")("name of the king")["input_ids"]
        assert words == transformers.AutoTokenizer.from_pretrained(base)("name of the king")["input_ids"]

    done = run("export", out, "--out", tmp_path / "beside")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "beside" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    with torch.no_grad():
        again = attach(plain, f"peft:{tmp_path / 'beside'}")
        again.head.load_state_dict(network.head.state_dict())
        torch.testing.assert_close(again(ids), network(ids), rtol=1e-6, atol=1e-6)
    further = meta_train(base, tmp_path / "further", f"peft:{tmp_path / 'beside'}", "--outer-lr", "0.001")
    start = dict(network.named_parameters())
    for name, p in load_backbone(further).named_parameters():
        if ".peft." in name:
            torch.testing.assert_close(p, start[name.replace(".peft.", ".lora.")], rtol=0, atol=0.0011)

    peft = pytest.importorskip("peft", reason="peft is not installed")
    theirs = peft.AutoPeftModelForFeatureExtraction.from_pretrained(tmp_path / "beside").eval()
    with torch.no_grad():
        torch.testing.assert_close(answers(theirs, head, ids), network(ids), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("learner", ["protonet", "proto-maml"])
def test_a_head_that_was_never_trained_is_left_out(base: Path, tmp_path: Path, learner: str) -> None:
    out = meta_train(base, tmp_path / "run", "prompt:length=2", "--learner", learner)
    done = run("export", out, "--out", tmp_path / "peft")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1].startswith("no head: this learner keeps none")
    assert {path.name for path in (tmp_path / "peft").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert "cannot be merged" in run("export", out, "--format", "hf", "--out", tmp_path / "hf").output
    peft = pytest.importorskip("peft", reason="peft is not installed")
    theirs = peft.AutoPeftModelForFeatureExtraction.from_pretrained(tmp_path / "peft").eval()
    network = load_backbone(out).eval()
    ids = torch.randint(5, 40, (3, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = theirs(input_ids=ids).last_hidden_state[:, 2:]
        torch.testing.assert_close(network.head(states.mean(1)), network(ids), rtol=1e-6, atol=1e-6)
    low = meta_train(base, tmp_path / "low", "lora:rank=2", "--learner", learner)
    done = run("export", low, "--format", "hf", "--out", tmp_path / "whole")
    assert "no head:" in done.output
    assert not (tmp_path / "whole" / "head.safetensors").exists()


def test_what_cannot_be_exported_is_one_line(base: Path, tmp_path: Path) -> None:
    out = meta_train(base, tmp_path / "run", "lora:rank=2", "--frozen", "nothing")
    glyphs = tmp_path / "glyphs"
    drawn = meta_train(f"{base}:weights=random", tmp_path / "drawn", "lora:rank=2")
    few = ("--iterations", "1", "--engine", "eager", "--tasks", "1", "--validate-tasks", "2", "--test-tasks", "2")
    assert run("meta-train", "--dataset", "sinusoid", *few, "--quiet", "--out", glyphs).exit_code == 0
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    for words, message in {
        (out, "--out", tmp_path / "new"): "its base has moved too, which peft has no place for; take hf",
        (drawn, "--out", tmp_path / "new"): "stands on weights that were drawn, which peft cannot",
        (out, "--out", taken): "is not empty; name a new folder",
        (out, "--out", tmp_path / "new", "--format", "hff"): "unknown format 'hff'; did you mean 'hf'",
        (out, "--out", tmp_path / "new", "--weights", "first"): "unknown weights 'first'",
        (glyphs, "--out", tmp_path / "new"): "is of the network mlp; only those of hf:… can be exported",
        (tmp_path / "none", "--out", tmp_path / "new"): "none",
    }.items():
        done = run("export", *words)
        assert done.exit_code == 2, done.output
        assert message in done.output
        assert done.output.count("\n") == 1
    assert not (tmp_path / "new").exists()
    assert run("export", out, "--format", "hf", "--out", tmp_path / "whole").exit_code == 0
