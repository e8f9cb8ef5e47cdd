"""Pretraining in a run directory: learns, resumes bit for bit, gives its network back; mistakes are one line."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from metaft.assembly.backbone import calibrated, load_backbone
from metaft.cli import cli
from metaft.commands.pretrain import build_pretraining, pretrain
from metaft.errors import MetaftError
from metaft.learners import FineTuning
from metaft.models.heads import CosineHead
from metaft.runs import checkpoint
from metaft.runs.metrics import read_rows
from metaft.settings.config import load_config, to_toml, validated
from metaft.settings.pretrain import PretrainConfig
from metaft.tasks.batch import TaskBatch
from metaft.tasks.minibatches import Minibatches
from metaft.training.stopping import StoppedRun

DATASET = "tests.runs.own_images:images"
SETTINGS: dict[str, Any] = {
    "dataset": DATASET, "ways": 3, "queries": 4, "hidden": 4, "iterations": 14, "batch_size": 16, "outer_lr": 0.02,
    "log_every": 4, "validate_every": 5, "validate_tasks": 6, "checkpoint_every": 3, "average": 0.9, "shift": 1,
    "label_smoothing": 0.1, "clip": 1.0,
}  # fmt: skip


SMALL = ["--dataset", DATASET, "--ways", "3", "--queries", "4"]


def settings(**more: Any) -> PretrainConfig:
    return validated(PretrainConfig, {**SETTINGS, **more})


@dataclasses.dataclass(frozen=True)
class Stopping(Minibatches):
    """Minibatches that ask for a stop at one of them."""

    at: int = -1

    def batch(self, index: int, tasks: int) -> TaskBatch:
        if index == self.at:
            os.kill(os.getpid(), signal.SIGINT)
        return super().batch(index, tasks)


def rows(out: Path) -> list[dict[str, Any]]:
    clock = ("seconds", "tasks_per_second")
    return [{k: v for k, v in row.items() if k not in clock} for row in read_rows(out / "metrics.jsonl")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pre"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metaft.training.loop.draw_episode", lambda *args: None)
        pretrain(settings(), out, progress=False)
    return out


def test_it_learns_to_tell_its_classes_apart(tmp_path: Path) -> None:
    easy = settings(iterations=60, hidden=16, shift=0, label_smoothing=0.0, average=0.0)
    result = pretrain(easy, tmp_path / "a", progress=False)
    losses = [row["loss"] for row in rows(tmp_path / "a") if row["kind"] == "train"]
    assert losses[-1] < 0.5 * losses[0]
    assert result.best is not None
    assert result.best > 0.6  # of 3 unseen classes


@pytest.mark.parametrize("at", [4, 7])
def test_a_resumed_run_equals_one_that_never_stopped(at: int, trained: Path, tmp_path: Path) -> None:
    out, parts = tmp_path / "b", build_pretraining(settings())
    family = {field.name: getattr(parts.train, field.name) for field in dataclasses.fields(parts.train)}
    stopping = dataclasses.replace(parts, train=Stopping(**family, at=at))
    with pytest.raises(StoppedRun, match="pretrain --resume"):
        pretrain(settings(), out, progress=False, parts=stopping)
    pretrain(settings(), out, progress=False, resume=True)
    one, other = (checkpoint.load_newest(path / "checkpoints") for path in (trained, out))
    for part in checkpoint.PARTS:
        assert getattr(one, part).keys() == getattr(other, part).keys()
        assert all(torch.equal(value, getattr(other, part)[name]) for name, value in getattr(one, part).items())
    assert "features.0.norm.running_var" in one.weights
    assert rows(trained) == rows(out)


def test_the_backbone_is_the_best_network(trained: Path) -> None:
    stored = checkpoint.load_newest(trained / "checkpoints")
    model = load_backbone(trained)
    assert not model.training
    state = model.state_dict()
    assert state["head.weight"].shape[0] == 6
    assert all(torch.equal(state[name], value) for name, value in stored.best.items())
    assert not torch.equal(state["features.0.norm.running_mean"], torch.zeros(4))
    last = load_backbone(trained, "last").state_dict()
    assert all(torch.equal(last[name], value) for name, value in stored.average.items())
    assert model.requires_grad_(False)(torch.rand(2, 1, 16, 16)).shape == (2, 6)


def test_a_cosine_head_comes_back_as_one(tmp_path: Path) -> None:
    pretrain(settings(head="cosine", iterations=3), tmp_path / "c", progress=False)
    assert isinstance(load_backbone(tmp_path / "c").get_submodule("head"), CosineHead)


def test_a_meta_trained_backbone_has_no_running_statistics(tmp_path: Path) -> None:
    out = str(tmp_path / "m")
    words = ["meta-train", *SMALL, "--hidden", "4", "--iterations", "2", "--tasks", "2", "--engine", "eager"]
    done = CliRunner().invoke(cli, [*words, "--out", out, "--quiet"])
    assert done.exit_code == 0, done.output
    model = load_backbone(out)
    stored = checkpoint.load_newest(Path(out) / "checkpoints")
    chosen = stored.best or stored.weights
    assert all(torch.equal(p, chosen[name]) for name, p in model.named_parameters())
    with pytest.raises(MetaftError, match="no running statistics"):
        FineTuning(model)
    assert FineTuning(model, batch_norm="inductive").transductive is False


def test_a_backbone_has_what_was_learned_for_the_first_of_several_steps(tmp_path: Path) -> None:
    out = str(tmp_path / "m")
    words = ["meta-train", *SMALL, "--hidden", "4", "--iterations", "1", "--tasks", "2", "--engine", "eager"]
    done = CliRunner().invoke(cli, [*words, "--learner", "maml++", "--steps", "2", "--out", out, "--quiet"])
    assert done.exit_code == 0, done.output
    model = load_backbone(out)
    stored = checkpoint.load_newest(Path(out) / "checkpoints")
    chosen = stored.best or stored.weights
    assert torch.equal(model.get_submodule("features.0.norm").weight, chosen["features.0.norm.weight"][0])
    assert torch.equal(model.get_submodule("head").weight, chosen["head.weight"])


def test_calibration_takes_the_statistics_of_images(trained: Path) -> None:
    x = 3 + torch.rand(20, 1, 16, 16)
    model = load_backbone(trained)
    again = calibrated(model, x)
    first = again.get_submodule("features.0.norm")
    seen = model.get_submodule("features.0.conv")(x)
    torch.testing.assert_close(first.running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(first.running_var, seen.var((0, 2, 3)))
    assert not torch.equal(first.running_mean, model.get_submodule("features.0.norm").running_mean)


def test_settings_survive_their_file(tmp_path: Path) -> None:
    config = settings(minutes=3, head="cosine")
    (tmp_path / "c.toml").write_text(to_toml(config))
    assert load_config(tmp_path / "c.toml", None, PretrainConfig) == config
    assert validated(PretrainConfig, {}).iterations == 4000
    assert validated(PretrainConfig, {"minutes": 1}).iterations is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dataset", "omniglt"], "unknown data set 'omniglt'; did you mean 'omniglot'"),
        (["--dataset", "sinusoid"], "dataset = sinusoid: pretraining tells classes apart"),
        ([*SMALL, "--batch-size", "100"], "a minibatch of 100 examples asked of"),
        ([*SMALL, "--shift", "16"], "shift = 16: images of 16×16 pixels"),
        ([*SMALL, "--batch-size", "16", "--model", "conv5"], "unknown model 'conv5'; did you mean 'conv4'"),
        (["--label-smoothing", "1"], "label_smoothing = 1: should be less than 1"),
        (["--head", "cosin"], "head = cosin: should be 'linear' or 'cosine'"),
        (["--batchsize", "3"], "unknown option '--batchsize'"),
    ],
)
def test_bad_input_is_one_line_before_any_work(words: list[str], said: str, tmp_path: Path) -> None:
    out = tmp_path / "none"
    result = CliRunner().invoke(cli, ["pretrain", *words, "--out", str(out)])
    assert result.exit_code == 2
    assert said in result.output
    assert result.output.count("\n") == 1
    assert not out.exists()


def test_what_asks_for_a_learner_says_what_to_do_with_a_network(trained: Path) -> None:
    result = CliRunner().invoke(cli, ["evaluate", str(trained)])
    assert result.exit_code == 2
    assert f"metaft compare fine-tuning:backbone={trained}" in result.output


def test_the_command_ends_with_the_next_one(tmp_path: Path) -> None:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    result = CliRunner().invoke(cli, ["pretrain", *words, "--out", str(tmp_path / "d")])
    assert result.exit_code == 0, result.output
    assert "6classes" in "".join(result.output.split())
    assert f"class-means:backbone={tmp_path}" in "".join(result.output.split())


def test_a_run_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match="no run in"):
        load_backbone(tmp_path)
