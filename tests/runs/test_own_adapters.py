"""Runs that begin from a folder of peft: they keep what they need of it, and it can go."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from metaft.additions.peft_folder import CONFIG, WEIGHTS
from metaft.assembly.backbone import load_backbone
from metaft.runs.own_adapters import adapter_files, with_own_adapters
from metaft.settings.config import RunConfig, validated
from metaft.settings.distill import GenerationConfig
from tests.runs.small_bert import FEW, SMALL, done, run, small_bert
from tests.runs.test_frozen_base import parts, require_equal, scores


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of peft, of LoRA that has moved."""
    folder = tmp_path_factory.mktemp("adapter")
    meta_train(base, folder / "run", "lora:rank=2,alpha=3", 1)
    done("export", folder / "run", "--out", folder / "peft")
    return folder / "peft"


def meta_train(base: Path, out: Path, addition: str, iterations: int, *more: object) -> Path:
    words = (*SMALL, *FEW, "--model", f"hf:{base}", "--addition", addition, "--learner", "fomaml")
    done("meta-train", *words, "--iterations", iterations, "--out", out, *more)
    return out


def test_the_folder_can_be_deleted(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder = tmp_path / "peft"
    shutil.copytree(adapter, folder)
    whole = meta_train(base, tmp_path / "whole", f"peft:{folder}", 3)
    out = meta_train(base, tmp_path / "run", f"peft:{folder}", 2)
    before = scores(out, tmp_path / "a.json"), load_backbone(out).state_dict()
    kept = {path.name: path.read_bytes() for path in (out / "additions/0").iterdir()}
    assert kept == {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    shutil.rmtree(folder)
    assert scores(out, tmp_path / "b.json") == before[0]
    after = load_backbone(out).state_dict()
    assert before[1].keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before[1].items())
    done("export", out, "--out", tmp_path / "again")
    assert load_file(tmp_path / "again" / WEIGHTS).keys() == load_file(adapter / WEIGHTS).keys()
    done("meta-train", "--resume", "--out", out, "--iterations", 3, "--quiet")
    require_equal(parts(out), parts(whole))
    assert "agrees bit for bit" in done("repeat", whole, "--quiet")
    moved = out.rename(tmp_path / "moved")
    assert len(scores(moved, tmp_path / "c.json")) == 3


def test_a_run_that_made_no_update_goes_on_without_it(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder = tmp_path / "peft"
    shutil.copytree(adapter, folder)
    out = meta_train(base, tmp_path / "run", f"peft:{folder}", 1)
    shutil.rmtree(out / "checkpoints")
    shutil.rmtree(folder)
    done("meta-train", "--resume", "--out", out, "--iterations", 1, "--quiet")
    require_equal(parts(out), parts(meta_train(base, tmp_path / "other", f"peft:{adapter}", 1)))


def test_a_run_of_before_reads_the_folder_and_takes_it_over(base: Path, adapter: Path, tmp_path: Path) -> None:
    out = meta_train(base, tmp_path / "run", f"lora:rank=1+peft:{adapter}", 1)
    shutil.rmtree(out / "additions")
    assert len(scores(out, tmp_path / "a.json")) == 3
    done("meta-train", "--resume", "--out", out, "--iterations", 2, "--quiet")
    assert {path.name for path in (out / "additions/1").iterdir()} == {CONFIG, WEIGHTS}
    # An overwritten run leaves nothing of it, but what is not its own.
    (out / "additions/mine").touch()
    meta_train(base, out, "lora:rank=1", 1, "--overwrite")
    assert [path.name for path in (out / "additions").iterdir()] == ["mine"]


@pytest.mark.long
def test_a_distillation_goes_on_without_it(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "peft", tmp_path / "d"
    shutil.copytree(adapter, folder)
    words = ("--dataset", "intents", "--ways", 2, "--queries", 1, "--model", f"hf:{base}", "--addition",
             f"peft:{folder}", "--iterations", 1, "--batch-size", 8, "--validate-tasks", 2, "--test-tasks", 2,
             "--quiet")  # fmt: skip
    done("distill", *words, "--generations", 1, "--out", out)
    shutil.rmtree(folder)
    done("distill", "--resume", "--out", out, "--generations", 2, "--quiet")
    names = {name for name, _ in load_backbone(out / "generation-2").named_parameters()}
    assert any(".peft." in name for name in names)


def test_without_a_copy_the_folder_is_named(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder = tmp_path / "peft"
    shutil.copytree(adapter, folder)
    out = meta_train(base, tmp_path / "run", f"peft:{folder}", 1)
    shutil.rmtree(folder)
    (out / "additions/0" / WEIGHTS).unlink()
    failed = run("evaluate", out, "--tasks", 2)
    assert (failed.exit_code, failed.output.count("\n")) == (2, 1)
    assert f"there is no {CONFIG} in {folder}" in failed.output


def test_which_folders_are_meant(adapter: Path, tmp_path: Path) -> None:
    config = validated(RunConfig, {"addition": f"ia3+peft:{adapter}+prompt:length=2"})
    files = adapter_files(config)
    assert set(files) == {f"additions/1/{name}" for name in (CONFIG, WEIGHTS)}
    assert with_own_adapters(config, tmp_path) is config
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert with_own_adapters(config, tmp_path).addition == f"ia3+peft:{tmp_path / 'additions/1'}+prompt:length=2"
    assert with_own_adapters(config, tmp_path / "generation-1") == config
    generation = GenerationConfig(addition=config.addition)
    assert with_own_adapters(generation, tmp_path / "generation-1").addition != config.addition
    for other in (validated(RunConfig, {}), validated(RunConfig, {"addition": "lora"})):
        assert adapter_files(other) == {}
        assert with_own_adapters(other, tmp_path) is other
    assert adapter_files(None) == {}
