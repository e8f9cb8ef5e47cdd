from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import metaft
from metaft.cli import cli
from metaft.commands.sweep import member, sweep
from metaft.commands.sweep.processes import Job, Watch
from metaft.commands.sweep.record import read_grid_of
from metaft.commands.sweep.validation_only import require_validation, validation_score
from metaft.errors import MetaftError
from metaft.learners.nearest_neighbour import NearestNeighbour
from metaft.runs.metrics import read_rows
from metaft.settings.config import load_config
from metaft.tasks.sinusoid import Sinusoids

BASE = """
[base]
dataset = "sinusoid"
engine = "eager"
device = "cpu"
tasks = 4
iterations = 4
log_every = 2
validate_every = 2
validate_tasks = 4
"""
RATES = f'command = "meta-train"\nseeds = 2\n{BASE}\n[grid]\ninner_lr = [0.01, 0.1]\n'
CLOCK = ("seconds", "tasks_per_second")


def write(folder: Path, text: str) -> Path:
    file = folder / "grid.toml"
    file.write_text(text)
    return file


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Members run in this process, for speed; the names of those that ran."""
    names: list[str] = []

    def here(jobs: Iterable[Job], at_once: int, watch: Watch) -> int:
        for job in jobs:
            names.append(job.name)
            watch.started(job)
            words = job.words[3:]
            job.log.parent.mkdir(exist_ok=True)
            if words[0] == "validate":
                grid = read_grid_of(words[1])
                member.score_member(words[1], next(m for m in grid.members if m.name == words[2]))
                code = 0
            else:
                result = run(*words)
                job.log.write_text(result.output)
                code = result.exit_code
            watch.ended(job, code)
        return 0

    monkeypatch.setattr(sweep, "run_jobs", here)
    return names


def test_the_best_setting_on_validation_tasks_is_chosen_and_recorded(tmp_path: Path, done: list[str]) -> None:
    result = run("sweep", write(tmp_path, RATES), "--out", tmp_path / "s")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "s/sweep.json").read_text())
    # By hand, from the members' own logs.
    means = []
    for rate in (0.01, 0.1):
        logs = [tmp_path / f"s/members/inner_lr={rate}+seed={seed}/metrics.jsonl" for seed in (0, 1)]
        best = [min(r["mse"] for r in read_rows(log) if r["kind"] == "validation") for log in logs]
        means.append(sum(best) / 2)
    assert [c["mean"] for c in record["settings"]] == pytest.approx(means)
    winner = (0.01, 0.1)[means.index(min(means))]
    assert [c["inner_lr"] for c in record["chosen"]] == [winner]
    chosen = load_config(tmp_path / "s/chosen.toml")
    assert (chosen.inner_lr, chosen.tasks, chosen.dataset) == (winner, 4, "sinusoid")
    assert f"inner_lr={winner}+seed={{seed}}' --dataset sinusoid --seeds 0,1" in result.stdout
    assert "← chosen" in (tmp_path / "s/sweep.md").read_text()
    assert "Chosen on validation classes" in (tmp_path / "s/sweep.md").read_text()


def test_a_member_that_fails_is_reported_and_stops_no_other(tmp_path: Path, done: list[str]) -> None:
    text = RATES.replace("seeds = 2", "seeds = 1").replace("[0.01, 0.1]", "[0.01, 1e6, 0.1]")
    text = text.replace("iterations = 4", "iterations = 4\nsteps = 9")
    result = run("sweep", write(tmp_path, text), "--out", tmp_path / "s")
    assert result.exit_code == 1
    assert len(done) == 3
    assert result.stderr.count("failed: inner_lr=1000000.0+seed=0: iteration 1: the query loss is") == 1
    assert "| 0 of 1 (failed) | – |" in (tmp_path / "s/sweep.md").read_text()
    # What has finished stays as it is; what failed is tried again.
    files = {path: path.read_bytes() for path in (tmp_path / "s/members/inner_lr=0.01+seed=0").rglob("*.*")}
    again = run("sweep", "--resume", "--out", tmp_path / "s")
    assert again.exit_code == 1
    assert done[3:] == ["inner_lr=1000000.0+seed=0"]
    assert files == {path: path.read_bytes() for path in files}


def test_a_grid_may_grow_but_not_change(tmp_path: Path, done: list[str]) -> None:
    small = RATES.replace("seeds = 2", "seeds = 1")
    assert run("sweep", write(tmp_path, small), "--out", tmp_path / "s", "--quiet").exit_code == 0
    write(tmp_path, small.replace("tasks = 4", "tasks = 5", 1))
    changed = run("sweep", tmp_path / "grid.toml", "--out", tmp_path / "s", "--resume")
    assert changed.exit_code == 2
    assert "begun with tasks = " in changed.stderr
    grown = run("sweep", write(tmp_path, small.replace("0.1]", "0.1, 0.5]")), "--out", tmp_path / "s", "--resume")
    assert grown.exit_code == 0
    assert done == ["inner_lr=0.01+seed=0", "inner_lr=0.1+seed=0", "inner_lr=0.5+seed=0"]


def test_a_learners_options_are_chosen_on_validation_tasks(tmp_path: Path, done: list[str]) -> None:
    text = """
command = "validate"
learner = "nearest-neighbour"
[base]
dataset = "glyphs"
ways = 3
shots = 3
queries = 2
validate_tasks = 12
[grid]
k = [1, 5]
"""
    result = run("sweep", write(tmp_path, text), "--out", tmp_path / "s")
    assert result.exit_code == 0, result.output
    family = metaft.families.episodes("glyphs", ways=3, shots=3, queries=2, split="val", seed=0)
    means = [metaft.evaluate(NearestNeighbour(k=k), family, tasks=12).mean for k in (1, 5)]
    record = json.loads((tmp_path / "s/sweep.json").read_text())
    assert [c["mean"] for c in record["settings"]] == pytest.approx(means)
    spec = f"nearest-neighbour:k={(1, 5)[means.index(max(means))]}"
    assert record["chosen"][0]["learner"] == spec
    assert (tmp_path / "s/chosen.toml").read_text().endswith(f'learner = "{spec}"\n')
    assert f"metaft compare {spec} --dataset glyphs --ways 3" in result.stdout
    scored = json.loads((tmp_path / "s/members/k=1+seed=0.json").read_text())
    assert scored["family"]["split"] == "val"


def test_the_rate_of_an_addition_is_chosen_like_any_option(tmp_path: Path, done: list[str]) -> None:
    text = """
command = "validate"
learner = "fine-tuning:backbone=random,addition=lora:rank=1,steps=1"
[base]
dataset = "glyphs"
model = "conv4"
hidden = 4
ways = 3
queries = 2
validate_tasks = 2
[grid]
rate = [0.1]
"""
    result = run("sweep", write(tmp_path, text), "--out", tmp_path / "s")
    assert result.exit_code == 0, result.output
    (chosen,) = json.loads((tmp_path / "s/sweep.json").read_text())["chosen"]
    assert chosen["learner"] == "fine-tuning:backbone=random,addition=lora:rank=1,steps=1,rate=0.1"


@dataclass(frozen=True)
class Unsaid:
    """A family that tells nobody its split."""

    kind = "regression"
    outputs, input_shape = 1, (1,)

    def batch(self, index: int, tasks: int) -> metaft.TaskBatch:
        return Sinusoids().batch(index, tasks)

    def describe(self) -> dict[str, object]:
        return {}


@dataclass(frozen=True)
class Liar(Sinusoids):
    """A test family that calls itself one thing and describes another."""

    def describe(self) -> dict[str, object]:
        return {"split": "val"}


@pytest.mark.parametrize(
    "family",
    [Sinusoids(split="test"), Sinusoids(split="train"), Sinusoids(split="validation"), Unsaid(), Liar(split="test")],
)
def test_nothing_but_validation_tasks_is_scored(family: object) -> None:
    for refuse in (require_validation, lambda f: validation_score(NearestNeighbour(), f, 2)):
        with pytest.raises(MetaftError, match="nothing is chosen but on validation classes"):
            refuse(family)


def test_test_episodes_are_refused() -> None:
    family = metaft.families.episodes("glyphs", ways=2, queries=1, split="test")
    with pytest.raises(MetaftError, match="not 'test'"):
        validation_score(NearestNeighbour(), family, 2)
    with pytest.raises(MetaftError, match="not 'test' and 'val'"):
        validation_score(NearestNeighbour(), _Relabelled(family), 2)
    with pytest.raises(MetaftError, match="scores task families, got str"):
        validation_score(NearestNeighbour(), "val", 2)  # type: ignore[arg-type]
    val = metaft.families.episodes("glyphs", ways=2, queries=1, split="val")
    assert validation_score(NearestNeighbour(), val, 4).metric == "accuracy"


class _Relabelled:
    """Test episodes behind another description."""

    def __init__(self, family: object) -> None:
        self._family = family

    def __getattr__(self, name: str) -> object:
        return getattr(self._family, name)

    def describe(self) -> dict[str, object]:
        return {"split": "val"}


def test_no_option_and_no_setting_names_a_split(tmp_path: Path, done: list[str]) -> None:
    result = run("sweep", write(tmp_path, RATES), "--out", tmp_path / "s", "--split", "test")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    # A record that was tampered with is read as carefully as a grid.
    assert run("sweep", write(tmp_path, RATES), "--out", tmp_path / "s", "--quiet").exit_code == 0
    record = json.loads((tmp_path / "s/sweep.json").read_text())
    changes = [{"settings": {**record["members"][0]["settings"], "split": "test"}}, {"name": "../../escape"}]
    changes += [{"seed": [0]}, {"setting": [0]}, {"varied": {"ways": [5]}}, {"learner": 5}]
    for change in changes:
        broken = {**record, "members": [{**record["members"][0], **change}]}
        (tmp_path / "s/sweep.json").write_text(json.dumps(broken))
        result = run("sweep", "--resume", "--out", tmp_path / "s")
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "Missing option '--out'"),
        (["--out", "s"], "a sweep needs a grid"),
        (["--out", "s", "--resume"], "no sweep in s to resume"),
        (["absent.toml", "--out", "s"], "cannot read grid absent.toml: No such file"),
        (["grid.toml", "--out", "."], "is not empty and holds no sweep"),
        (["grid.toml", "--out", "s", "--jobs", "0"], "0 is not in the range"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, RATES)
    result = run("sweep", *args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["grid.toml"]


@pytest.mark.long
def test_a_sweep_killed_and_resumed_ends_as_one_that_never_stopped(tmp_path: Path) -> None:
    text = RATES.replace("seeds = 2", "seeds = [3]").replace("[0.01, 0.1]", "[0.01]")
    text = text.replace("iterations = 4", "iterations = 200\ncheckpoint_every = 10")
    call = [sys.executable, "-m", "metaft", "sweep", "--out", tmp_path / "s", "--jobs", "1"]
    run_folder = tmp_path / "s/members/inner_lr=0.01+seed=3"
    with subprocess.Popen([*call, write(tmp_path, text)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as first:
        deadline = time.monotonic() + 300
        while not list(run_folder.glob("checkpoints/iteration-*")):
            assert time.monotonic() < deadline
            assert first.poll() is None
            time.sleep(0.02)
        os.kill(first.pid, signal.SIGKILL)
    taken = run("sweep", tmp_path / "grid.toml", "--out", tmp_path / "s")
    assert taken.exit_code == 2
    assert "already holds a sweep" in taken.stderr
    resumed = run("sweep", "--out", tmp_path / "s", "--jobs", 1, "--resume")
    assert resumed.exit_code == 0, resumed.output
    record = json.loads((run_folder / "run.json").read_text())
    assert record["history"], "the member should have been resumed"
    config = ["--config", run_folder / "config.toml"]
    assert run("meta-train", *config, "--out", tmp_path / "whole", "--quiet").exit_code == 0
    assert rows(tmp_path / "whole") == rows(run_folder)
    newest = "checkpoints/iteration-0000000200/weights.safetensors"
    assert (tmp_path / "whole" / newest).read_bytes() == (run_folder / newest).read_bytes()


def rows(folder: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in read_rows(folder / "metrics.jsonl")]


def test_a_comparison_takes_what_a_sweep_chose_and_records_it(tmp_path: Path, done: list[str]) -> None:
    text = 'command = "validate"\nlearner = "nearest-neighbour"\n[base]\nways = 3\nshots = 3\nqueries = 2\n'
    text += "validate_tasks = 12\n[grid]\nk = [1, 3]\n"
    assert run("sweep", write(tmp_path, text), "--out", tmp_path / "s", "--quiet").exit_code == 0
    record = json.loads((tmp_path / "s/sweep.json").read_text())
    settings = ["--ways", 3, "--shots", 3, "--queries", 2, "--tasks", 4]
    result = run("compare", tmp_path / "s", "class-means", *settings, "--out", tmp_path / "c")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "c/comparison.json").read_text())
    assert found["chosen_on_validation_classes_by_sweep"] == {str(tmp_path / "s"): record["chosen"][0]["learner"]}
    (tmp_path / "s/members/k=1+seed=0.json").unlink()
    undone = run("compare", tmp_path / "s", *settings, "--out", tmp_path / "d")
    assert undone.exit_code == 2
    assert "is not done; go on with it" in undone.stderr


def test_code_named_in_a_grid_is_not_imported_unasked(tmp_path: Path, done: list[str]) -> None:
    for text in (
        RATES.replace("tasks = 4", 'tasks = 4\nmodel = "trap:Net"', 1),
        'command = "validate"\nlearner = "trap:L"',
    ):
        result = run("sweep", write(tmp_path, text), "--out", tmp_path / "s")
        assert result.exit_code == 2
        assert "names code that would be imported and run, trap:" in result.stderr
        assert not (tmp_path / "s").exists()
