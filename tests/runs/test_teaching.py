"""A taught run: its record, resuming bit for bit, its place in a comparison, and mistakes in one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from metaft.assembly.meta_learner import load_run
from metaft.assembly.teaching import build_taught, check_teacher
from metaft.cli import cli
from metaft.distillation.taught_meta_learner import Distilled
from metaft.errors import MetaftError
from metaft.learners.maml import MAML
from metaft.runs import checkpoint
from metaft.runs.recorded import command_words, recorded_config
from metaft.settings.config import RunConfig, load_config, to_toml, validated
from metaft.training.loop import meta_train
from metaft.training.stopping import StoppedRun

DATASET = "tests.runs.own_images:images"
SETTINGS: dict[str, Any] = {
    "dataset": DATASET, "ways": 3, "queries": 4, "hidden": 4, "iterations": 7, "tasks": 2, "inner_lr": 0.5,
    "log_every": 2, "validate_every": 3, "validate_tasks": 4, "checkpoint_every": 2, "engine": "eager", "workers": 1,
}  # fmt: skip


def settings(**more: Any) -> RunConfig:
    return validated(RunConfig, {**SETTINGS, **more})


def train(out: Path, **more: Any) -> None:
    resume = more.pop("resume", False)
    config = settings(**more)
    parts = build_taught(config)
    meta_train(parts.learner, parts.train, out=out, validation=parts.validation, progress=False, config=config,
               resume=resume)  # fmt: skip


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "slow"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metaft.training.loop.draw_episode", lambda *args: None)
        train(out, steps=3, seed=1)
    return out


@pytest.fixture(scope="module")
def student(teacher: Path) -> Path:
    out = teacher.parent / "fast"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metaft.training.loop.draw_episode", lambda *args: None)
        train(out, teacher=str(teacher))
    return out


def test_a_teacher_answers_as_it_was_trained_whatever_steps_it_has_for_the_test(teacher: Path, tmp_path: Path) -> None:
    other = shutil.copytree(teacher, tmp_path / "slow")
    config = other / "config.toml"
    config.write_text(config.read_text().replace("[evaluate]\n", "[evaluate]\ntest_steps = 9\n"))
    assert load_config(config).test_steps == 9
    for text, steps in ((str(other), 3), (f"{other}:steps=5", 5)):
        assert build_taught(settings(teacher=text)).learner.describe()["teacher_steps"] == steps


def test_the_record_names_the_teacher_and_the_command_gives_it_back(teacher: Path, student: Path) -> None:
    told = json.loads((student / "run.json").read_text())["settings"]["learner"]
    assert told["teacher"] == str(teacher)
    assert told["teacher_steps"] == 3
    assert len(told["teacher_sha256"]) == 64
    config = recorded_config(student)
    assert load_config(student / "config.toml") == config
    words = command_words(config)
    assert words[words.index("--teacher") + 1] == str(teacher)
    assert "teacher =" not in to_toml(settings())


def test_the_teacher_changes_what_is_learned(teacher: Path, student: Path, tmp_path: Path) -> None:
    train(tmp_path / "plain")
    train(tmp_path / "labels", teacher=str(teacher), label_weight=1)
    weights = {where: checkpoint.load_newest(where / "checkpoints").weights
               for where in (student, tmp_path / "plain", tmp_path / "labels")}  # fmt: skip
    for name, value in weights[tmp_path / "plain"].items():
        assert torch.equal(weights[tmp_path / "labels"][name], value)
    assert any(not torch.equal(weights[student][n], v) for n, v in weights[tmp_path / "plain"].items())


def test_a_resumed_run_equals_one_that_never_stopped(
    teacher: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, calls = MAML.meta_gradient, []

    def stopping(self: MAML, *args: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return answer(self, *args, **options)

    monkeypatch.setattr(MAML, "meta_gradient", stopping)
    with pytest.raises(StoppedRun):
        train(tmp_path / "b", teacher=str(teacher))
    train(tmp_path / "b", teacher=str(teacher), resume=True)
    ends = [checkpoint.load_newest(where / "checkpoints") for where in (student, tmp_path / "b")]
    for part in ("weights", "best", "optimiser"):
        before, after = (getattr(end, part) for end in ends)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    digests = [json.loads((w / "run.json").read_text())["settings"]["learner"]["teacher_sha256"]
               for w in (student, tmp_path / "b")]  # fmt: skip
    assert digests[0] == digests[1]


def test_a_resumed_run_refuses_another_teacher(teacher: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    shutil.copytree(teacher, slow)
    train(tmp_path / "a", teacher=str(slow))
    shutil.rmtree(slow)
    train(slow, steps=3, seed=2)
    with pytest.raises(MetaftError, match="teacher_sha256"):
        train(tmp_path / "a", teacher=str(slow), iterations=9, resume=True)


def test_evaluation_needs_no_teacher(teacher: Path, student: Path, tmp_path: Path) -> None:
    alone = tmp_path / "fast"
    shutil.copytree(student, alone)
    text = (alone / "config.toml").read_text()
    (alone / "config.toml").write_text(text.replace(str(teacher), str(tmp_path / "gone")))
    _, learner = load_run(alone)
    assert isinstance(learner, MAML)
    _, before = load_run(student)
    assert all(torch.equal(learner.params[name], value) for name, value in before.params.items())


def test_it_is_compared_like_any_other(teacher: Path, student: Path, tmp_path: Path) -> None:
    out = tmp_path / "compared"
    words = ["compare", str(student), f"{teacher}:label=slow", "--dataset", DATASET, "--ways", "3", "--shots", "1",
             "--queries", "4", "--tasks", "6", "--out", str(out), "--workers", "1"]  # fmt: skip
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    assert "slow" in (out / "comparison.md").read_text()


def test_any_learner_can_teach(teacher: Path) -> None:
    learner = build_taught(settings(teacher=f"fine-tuning:backbone={teacher},steps=2,batch_norm=inductive")).learner
    assert isinstance(learner, Distilled)
    assert torch.isfinite(learner.meta_gradient(build_taught(settings()).train.batch(0, 2)).loss)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"teacher": "runs/none"}, "no run in runs/none"),
        ({"teacher": "nobody"}, "unknown learner 'nobody'"),
        ({"teacher": "tests.runs.own_images:images:x=1"}, "no import path"),
        ({"teacher": "{slow}", "ways": 2}, "trained for 3 ways, these tasks have 2"),
        ({"teacher": "{slow}", "temperature": 0}, "temperature"),
        ({"teacher": "{slow}", "label_weight": 1.5}, "label_weight"),
        ({"teacher": "{slow}", "estimator": "reptile"}, "reptile"),
        ({"teacher": "{slow}", "dataset": "sinusoid"}, "regression"),
        ({"temperature": 2}, "name one, --teacher RUN"),
        ({"teacher": "{damaged}"}, "damaged"),
    ],
)
def test_mistakes_are_one_line(more: dict[str, Any], words: str, teacher: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(teacher, damaged)
    for file in damaged.glob("checkpoints/*/weights.safetensors"):
        file.write_bytes(b"nothing")
    given = {k: v.format(slow=teacher, damaged=damaged) if isinstance(v, str) else v for k, v in more.items()}
    options = [w for k, v in {**SETTINGS, **given}.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    result = CliRunner().invoke(cli, ["meta-train", *options, "--out", str(tmp_path / "out"), "--quiet"])
    assert result.exit_code != 0
    said = str(result.exception) if not isinstance(result.exception, SystemExit) else result.output
    assert words in said + result.output
    assert not (tmp_path / "out").exists()


def test_no_run_is_its_own_teacher(teacher: Path) -> None:
    with pytest.raises(MetaftError, match="its own teacher"):
        check_teacher(settings(teacher=str(teacher)), teacher)
