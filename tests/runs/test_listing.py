from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metaft.cli import cli
from metaft.runs.directory import RunDirectory
from metaft.runs.listing import RunSummary, list_runs, summarise_run
from metaft.runs.reading import in_use, printable, read_rows
from metaft.runs.showing import plain, show_run

SMALL = ["--dataset", "sinusoid", "--engine", "eager", "--tasks", "4", "--device", "cpu", "--iterations", "4"]
SMALL += ["--log-every", "2", "--validate-every", "2", "--validate-tasks", "4", "--workers", "1"]


def metaft(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "deep" / "waves"
    assert metaft("meta-train", *SMALL, "--out", out, "--quiet").exit_code == 0
    assert metaft("evaluate", out, "--tasks", 4).exit_code == 0
    return out


def test_a_run_in_a_few_words(trained: Path) -> None:
    best = min((r for r in read_rows(trained / "metrics.jsonl") if r["kind"] == "validation"), key=lambda r: r["mse"])
    (found,) = list_runs(trained.parents[1])
    assert found == summarise_run(trained)
    assert (found.state, found.iteration, found.iterations, found.minutes) == ("finished", 4, 4, None)
    assert (found.metric, found.best, found.ci95) == ("mse", best["mse"], best["ci95"])
    assert (found.learner, found.data, found.seed) == ("maml", "sinusoid train, 10-shot", 0)
    assert found.row(trained.parents[1])[:3] == [os.path.join("deep", "waves"), "finished", "4 of 4"]
    listed = json.loads(metaft("runs", trained.parents[1], "--json").stdout)
    assert RunSummary(**listed[0]) == found


@pytest.mark.parametrize(
    ("record", "held", "state"),
    [
        ({"state": "running"}, True, "running"),
        ({"state": "running"}, False, "interrupted"),
        ({"state": "stopped"}, False, "stopped"),
        ({"state": "stopped"}, True, "running"),
        ({"state": "failed", "reason": "NaN\x1b[2J"}, False, "failed"),
        ({"state": ["finished"]}, False, "damaged"),
        ({}, False, "damaged"),
        ([], False, "damaged"),
    ],
)
def test_states(tmp_path: Path, record: Any, held: bool, state: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "iteration": 7, "seconds": 2}\n{"kind": "tra')
    folder = RunDirectory(tmp_path)
    if held:
        folder.lock()
    try:
        found = summarise_run(tmp_path)
        assert in_use(tmp_path) == held
    finally:
        folder.close()
    assert found.state == state
    if isinstance(record, dict):
        assert found.iteration == 7
    if state == "failed":
        assert found.reason == "NaN\\x1b[2J"
    if held:  # Looking does not take the lock.
        folder.lock()
        folder.close()


def test_minutes_and_sweeps_and_links(tmp_path: Path) -> None:
    for name in ("s/members/a", "s/members/b", "c"):
        (tmp_path / name).mkdir(parents=True)
        record = {"state": "stopped", "settings": {"train": {"minutes": 2.0}}, "seconds": 30}
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    (tmp_path / "loop").symlink_to(tmp_path)
    found = list_runs(tmp_path)
    assert [os.path.relpath(run.path, tmp_path) for run in found] == ["c", "s/members/a", "s/members/b"]
    assert {run.progress for run in found} == {"0.5 of 2 min"}


def test_everything_needed_to_repeat_is_shown(trained: Path) -> None:
    shown = show_run(trained)
    settings = shown["settings"]
    assert (settings["iterations"], settings["seed"], settings["dataset"]) == (4, 0, "sinusoid")
    assert shown["repeat"]["recorded command"].split()[0] == "metaft"  # the rest is how pytest was started
    assert shown["repeat"]["and compare"] == f"metaft repeat {trained}"
    assert {"torch", "python", "numpy", "metaft", "commit", "cpu"} <= shown["environment"].keys()
    assert shown["checkpoints"] == {"iteration-0000000004": "whole"}
    assert shown["scope"]["0.weight"] == "40×1, adapts, meta-trained"
    assert len(shown["data"]["sha256 of the first task"]) == 64
    (score,) = shown["scores"].values()
    assert "mse on 4 sinusoid test" in score
    text = metaft("show", trained).stdout
    assert all(value in text for section in shown.values() for _, value in plain(section))
    assert json.loads(metaft("show", trained, "--json").stdout) == json.loads(json.dumps(shown))


def test_the_shown_command_line_makes_the_same_run(trained: Path) -> None:
    words = show_run(trained)["repeat"]["command line"].split()
    assert words[-2:] == ["--out", f"{trained}-repeat"]
    assert metaft(*words[1:], "--quiet").exit_code == 0
    first, second = (read_rows(Path(p) / "metrics.jsonl") for p in (trained, f"{trained}-repeat"))
    assert [row["loss"] for row in first] == [row["loss"] for row in second]


def test_damaged_files_of_strangers_are_read_without_a_traceback(trained: Path, tmp_path: Path) -> None:
    draw = random.Random(0)
    names = ["run.json", "config.toml", "metrics.jsonl"]
    names += [str(p.relative_to(trained)) for p in trained.glob("evaluations/*.json")]
    names += [str(p.relative_to(trained)) for p in trained.glob("checkpoints/*/*")]
    for number in range(150):
        copy = tmp_path / f"{number}"
        for name in names:
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((trained / name).read_bytes())
        victim = copy / draw.choice(names)
        content = bytearray(victim.read_bytes())
        match draw.randrange(4):
            case 0:
                del content[draw.randrange(len(content)) :]
            case 1:
                content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            case 2:
                content = bytearray(b"[" * 100_000)
            case 3:
                content = bytearray(json.dumps(draw.choice([[], 3, None, {"settings": [1], "scope": [[]]}])).encode())
        victim.write_bytes(content)
        result = metaft("show", copy)
        assert result.exit_code in (0, 2), (victim.name, result.exception)
        assert result.exit_code == 0 or result.stderr.count("\n") == 1
    listed = metaft("runs", tmp_path)
    assert listed.exit_code == 0
    assert "damaged" in listed.stdout


def test_a_pipe_in_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    for name in ("run.json", ".lock", "metrics.jsonl"):
        os.mkfifo(tmp_path / name)
    assert summarise_run(tmp_path).state == "damaged"
    assert "not an ordinary file" in metaft("show", tmp_path).stderr


def test_nothing_of_a_strangers_run_is_imported(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text((trained / "run.json").read_text())
    text = (trained / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace('model = "mlp"', 'model = "trap:Net"'))
    assert metaft("show", folder).exit_code == 0
    assert metaft("runs", tmp_path).exit_code == 0
    refused = metaft("repeat", folder)
    assert refused.exit_code == 2
    assert "names code that would be imported and run, trap:Net" in refused.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["runs", "absent"], "no folder absent"),
        (["show", "absent"], "no run in absent"),
        (["repeat", "absent"], "no run in absent"),
        (["show"], "Missing argument 'RUN'"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = metaft(*args)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert said in result.stderr


def test_control_characters_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\x9b") == "a\\x1b[31mb\\x9b"
    assert printable("ä → 3") == "ä → 3"
