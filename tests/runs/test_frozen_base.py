"""Runs over a frozen pretrained base: it is in no checkpoint, comes back from the model, and has to be the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from metaft.assembly.backbone import load_backbone
from metaft.errors import MetaftError
from metaft.models import build
from metaft.runs import checkpoint
from metaft.runs.checkpoint import Checkpoint
from metaft.runs.frozen_base import FrozenBase, digest, filled, left_out
from tests.runs.small_bert import FEW, SMALL, done, run, small_bert

LORA = ("--addition", "lora:rank=2,on=all")
COMPARED = ("--ways", 2, "--queries", 1, "--tasks", 2, "--shots", 1, "--workers", 1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bert(tmp_path_factory.mktemp("bert"))


def meta_train(base: object, out: Path, iterations: int, *more: object, learner: str = "fomaml") -> Path:
    words = (*SMALL, *FEW, "--model", f"hf:{base}", "--learner", learner, *LORA, "--iterations", iterations)
    done("meta-train", *words, "--out", out, *more)
    return out


def parts(out: Path) -> dict[str, dict[str, Tensor]]:
    newest = checkpoint.folders(out / "checkpoints")[-1]
    return {file.stem: load_file(file) for file in newest.glob("*.safetensors")}


def scores(out: Path, where: Path) -> list[float]:
    done("evaluate", out, "--tasks", 3, "--json", where)
    (found,) = json.loads(where.read_text())["results"].values()
    return list(found["per_task"])


def require_equal(one: dict[str, dict[str, Tensor]], other: dict[str, dict[str, Tensor]]) -> None:
    assert one.keys() == other.keys()
    for part, values in one.items():
        assert values.keys() == other[part].keys()
        assert all(torch.equal(value, other[part][name]) for name, value in values.items()), part


@pytest.mark.parametrize("learner", ["fomaml", "protonet"])
def test_no_checkpoint_holds_the_base_and_what_reads_a_run_has_it(base: Path, tmp_path: Path, learner: str) -> None:
    out = meta_train(base, tmp_path / "run", 2, "--average", "0.5", learner=learner)
    found = parts(out)
    assert set(found) == set(checkpoint.PARTS)
    for part in ("weights", "average", "best"):
        assert all(".lora." in name or "head." in name for name in found[part]), part
    pretrained = build(f"hf:{base}", outputs=2, seed=0).model.state_dict()
    network = load_backbone(out)
    own = dict(network.model.named_parameters())
    assert all(torch.equal(own[name], value) for name, value in pretrained.items())
    assert any(p.abs().max() > 0.01 for name, p in own.items() if name.endswith("lora.B"))
    compared = ("compare", out, f"class-means:backbone={out}", "--dataset", f"intents:tokenizer=hf:{base}", *COMPARED)
    assert "class-means" in done(*compared, "--out", tmp_path / "c")
    assert f"whole; its frozen base is read from hf:{base}" in " ".join(done("show", out).split())


def test_a_resumed_run_is_bit_equal(base: Path, tmp_path: Path) -> None:
    whole = meta_train(base, tmp_path / "whole", 4, "--average", "0.5")
    half = meta_train(base, tmp_path / "half", 2, "--average", "0.5")
    done("meta-train", "--resume", "--out", half, "--iterations", 4, "--quiet")
    require_equal(parts(whole), parts(half))
    assert "agrees bit for bit" in done("repeat", whole, "--quiet")


def test_a_run_of_before_that_kept_the_base_loads_goes_on_and_is_repeated(base: Path, tmp_path: Path) -> None:
    lean, full = meta_train(base, tmp_path / "lean", 2), tmp_path / "full"
    shutil.copytree(lean, full)
    stored = checkpoint.load_newest(full / "checkpoints")
    kept = checkpoint.save(full / "checkpoints", filled(stored, dict(load_backbone(lean).named_parameters())))
    assert json.loads((kept / "progress.json").read_text())["format"] == 1
    assert any("word_embeddings" in name for name in parts(full)["weights"])
    assert scores(full, tmp_path / "a.json") == scores(lean, tmp_path / "b.json")
    assert "agrees bit for bit" in done("repeat", full, "--quiet")
    for out in (full, lean):
        done("meta-train", "--resume", "--out", out, "--iterations", 3, "--quiet")
    require_equal(parts(full), parts(lean))


def test_another_base_than_it_was_trained_on_is_one_line(base: Path, tmp_path: Path) -> None:
    own = tmp_path / "bert"
    shutil.copytree(base, own)
    out = meta_train(own, tmp_path / "run", 1)
    held = load_file(own / "model.safetensors")
    name = next(name for name in held if "word_embeddings" in name)
    held[name][3, 0] += 1e-3
    save_file(held, own / "model.safetensors", {"format": "pt"})
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    new = ("--out", tmp_path / "new")
    for words in (
        ("evaluate", out, "--tasks", 2),
        ("meta-train", "--resume", "--out", out, "--iterations", 2, "--quiet"),
        ("export", out, *new),
        ("compare", f"class-means:backbone={out}", "--dataset", f"intents:tokenizer=hf:{own}", *COMPARED, *new),
    ):
        failed = run(*words)
        assert failed.exit_code == 2, failed.output
        said = failed.output.splitlines()[-1]
        assert f"{out} keeps no copy of its frozen base hf:{own}" in said
        assert "bring that model back as it was, or train anew" in said
    assert not (tmp_path / "new").exists()
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize("how", ["weights=random", "frozen=nothing"])
def test_what_cannot_be_read_again_is_kept(base: Path, tmp_path: Path, how: str) -> None:
    drawn = how == "weights=random"
    out = meta_train(
        f"{base}:{how}" if drawn else base, tmp_path / "run", 1, *(() if drawn else ("--frozen", "nothing"))
    )
    assert any("word_embeddings" in name for name in parts(out)["weights"])
    assert len(scores(out, tmp_path / "a.json")) == 3


@pytest.mark.long
def test_pretraining_and_distilling(base: Path, tmp_path: Path) -> None:
    words = ("--dataset", "intents", "--ways", 2, "--queries", 1, "--model", f"hf:{base}", *LORA, "--iterations", 2,
             "--batch-size", 8, "--validate-tasks", 2, "--quiet")  # fmt: skip
    done("pretrain", *words, "--out", tmp_path / "p")
    done("distill", *words, "--generations", 1, "--out", tmp_path / "d", "--teacher", tmp_path / "p", "--test-tasks", 2)
    done("meta-train", *SMALL, *FEW, "--model", f"hf:{base}", *LORA, "--learner", "fomaml", "--iterations", 1,
         "--teacher", f"class-means:backbone={tmp_path / 'd'}", "--out", tmp_path / "t")  # fmt: skip
    pretrained = build(f"hf:{base}", outputs=2, seed=0).model.state_dict()
    for out, holds in (("p", "p"), ("d", "d/generation-1"), ("t", "t")):
        assert not any("word_embeddings" in name for name in parts(tmp_path / holds)["weights"])
        own = load_backbone(tmp_path / out).model.state_dict()
        assert all(torch.equal(own[name], value) for name, value in pretrained.items())


def weights() -> dict[str, Tensor]:
    return {"base": torch.arange(4.0), "head": torch.ones(2)}


def test_what_has_moved_is_kept() -> None:
    known = FrozenBase("hf:x", ("base",), digest({"base": torch.arange(4.0)}))
    still = Checkpoint({}, weights(), best=weights())
    lean = left_out(still, known)
    assert (lean.weights.keys(), lean.best.keys(), lean.average) == ({"head"}, {"head"}, {})
    again = filled(lean, weights())
    assert (again.base, again.weights.keys()) == (None, {"base", "head"})
    assert torch.equal(again.best["base"], torch.arange(4.0))
    own = [again.weights["base"], again.best["base"]]
    assert len({value.data_ptr() for value in own}) == 2  # ranks are sent both
    for part in ("weights", "best"):
        moved = Checkpoint({}, weights(), best=weights())
        getattr(moved, part)["base"][2] += 1
        assert left_out(moved, known) is moved
    assert left_out(Checkpoint({}, {"base": torch.arange(4.0)}), known).weights  # no checkpoint is empty
    for built in ({"head": torch.ones(2)}, {"base": torch.arange(4.0).double()}, {"base": torch.arange(4.0)[None]}):
        with pytest.raises(MetaftError, match="no longer the one"):
            filled(lean, built)


def test_names_types_and_shapes_are_in_the_digest() -> None:
    zeros = torch.zeros(2, 3)
    others = [{"a": zeros}, {"b": zeros}, {"a": zeros.T}, {"a": zeros.double()}, {"a": zeros, "b": zeros[:0]}]
    assert len({digest(other) for other in others}) == len(others)
    assert digest({"a": zeros, "b": zeros[0]}) == digest({"b": zeros[0], "a": zeros})
    assert digest({"a": torch.arange(6).view(2, 3).T}) == digest({"a": torch.arange(6).view(2, 3).T.contiguous()})
