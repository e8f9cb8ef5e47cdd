from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from click.testing import CliRunner, Result

from metaft.cli import cli
from metaft.commands import repeat
from metaft.commands.agreement import compare_runs
from metaft.environment import environment
from metaft.runs import checkpoint
from metaft.runs.checkpoint import Checkpoint

SMALL = ["--dataset", "sinusoid", "--engine", "eager", "--tasks", "4", "--device", "cpu", "--workers", "1"]
SMALL += ["--log-every", "2", "--validate-every", "3", "--validate-tasks", "4", "--average", "0.9", "--quiet"]


def metaft(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@pytest.fixture(autouse=True)
def _one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about a clean checkout, whatever state the one they run in has."""
    from metaft.commands import repeat

    here = {**environment(), "commit": "abc"}
    monkeypatch.setattr(repeat, "environment", lambda: here)
    monkeypatch.setattr("metaft.runs.directory.environment", lambda: here)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    assert metaft("meta-train", *SMALL, "--iterations", 6, "--out", tmp_path / "run").exit_code == 0
    return tmp_path / "run"


def change_record(folder: Path, **values: Any) -> None:
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, **values}))


def change_weights(folder: Path, by: float) -> None:
    """Another weight than was trained, in a checkpoint that is whole."""
    stored = checkpoint.load_newest(folder / "checkpoints")
    weights = {name: w.clone() for name, w in stored.weights.items()}
    weights["2.bias"][7] += by
    changed = Checkpoint(stored.progress, weights, stored.average, stored.best, stored.optimiser)
    checkpoint.save(folder / "checkpoints", changed)


def change_score(folder: Path, by: float) -> None:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if row["kind"] == "validation":
            row["mse"] += by
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_run_repeats_bit_for_bit(trained: Path) -> None:
    result = metaft("repeat", trained, "--quiet")
    assert result.exit_code == 0, result.output
    assert "agrees bit for bit" in result.stdout
    again = Path(f"{trained}-repeat")
    parts = [
        {file.name: safetensors.torch.load_file(file) for file in p.glob("checkpoints/*/*.safetensors")}
        for p in (trained, again)
    ]
    assert parts[0].keys() == parts[1].keys() == {f"{name}.safetensors" for name in checkpoint.PARTS}
    for name, tensors in parts[0].items():
        assert all((tensors[key] == parts[1][name][key]).all() for key in tensors)
    assert json.loads((again / "run.json").read_text())["repeats"]["agrees"] is True
    assert metaft("repeat", trained).exit_code == 2  # The place is taken.


def test_a_single_other_weight_is_found_and_named(trained: Path) -> None:
    change_weights(trained, 1e-6)
    result = metaft("repeat", trained, "--quiet")
    assert result.exit_code == 1
    assert "DISAGREES" in result.stdout
    assert "largest difference in the weights: weights 2.bias, entry 7" in result.stdout
    assert "in the log" not in result.stdout


def test_another_score_is_found_and_named(trained: Path) -> None:
    change_score(trained, 1e-9)
    result = metaft("repeat", trained, "--quiet")
    assert result.exit_code == 1
    assert "largest difference in the log: validation mse at iteration" in result.stdout


@pytest.mark.parametrize(
    ("part", "name", "said"),
    [("versions", "torch", "torch was 1.0, here"), ("machine", "cpu", "cpu was 1.0, here")],
)
def test_elsewhere_the_interval_decides(trained: Path, part: str, name: str, said: str) -> None:
    there = json.loads((trained / "run.json").read_text())["environment"]
    change_record(trained, environment={**there, part: {**there[part], name: "1.0"}})
    change_weights(trained, 1e-6)
    change_score(trained, 0.01)
    result = metaft("repeat", trained, "--quiet")
    assert result.exit_code == 0, result.output
    assert "agrees, not bit for bit" in result.stdout
    assert said in result.stdout
    change_score(trained, 100.0)
    found = compare_runs(trained, f"{trained}-repeat", repeat.plan(trained).inexact)
    assert not found.agrees


def test_other_data_do_not_agree(trained: Path) -> None:
    change_record(trained, first_task_sha256="0" * 64, environment={})
    change_weights(trained, 1e-6)
    result = metaft("repeat", trained, "--quiet")
    assert result.exit_code == 1
    assert "the first task of training differs" in result.stdout


@pytest.mark.parametrize(("schedule", "clocked"), [("cosine", True), ("constant", False)])
def test_a_run_of_minutes_makes_as_many_iterations_again(tmp_path: Path, schedule: str, clocked: bool) -> None:
    out = tmp_path / "run"
    words = ["meta-train", *SMALL, "--minutes", 0.005, "--schedule", schedule, "--outer-lr", "0.01", "--out", out]
    assert metaft(*words).exit_code == 0
    made = json.loads((out / "run.json").read_text())["iteration"]
    result = metaft("repeat", out, "--quiet")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run-repeat/run.json").read_text())["iteration"] == made
    assert ("its learning rate followed the clock" in result.stdout) == clocked
    assert ("agrees bit for bit" in result.stdout) != clocked


def test_limits_that_changed_on_the_way_are_named(tmp_path: Path) -> None:
    words = ["meta-train", *SMALL, "--schedule", "cosine", "--out", tmp_path / "run"]
    assert metaft(*words, "--iterations", 3).exit_code == 0
    assert metaft("meta-train", "--resume", "--out", tmp_path / "run", "--iterations", 6, "--quiet").exit_code == 0
    assert repeat.plan(tmp_path / "run").inexact == ("it was begun with iterations = 3 and resumed with 6",)


def test_only_a_finished_run_of_settings_is_repeated(trained: Path) -> None:
    change_record(trained, state="stopped")
    result = metaft("repeat", trained)
    assert result.exit_code == 2
    assert "is not finished (stopped)" in result.stderr
    change_record(trained, state="finished")
    (trained / "config.toml").unlink()
    assert "was made from Python" in metaft("repeat", trained).stderr
    shutil.rmtree(trained)
    assert "no run in" in metaft("repeat", trained).stderr
