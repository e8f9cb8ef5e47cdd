from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from metaft.errors import MetaftError
from metaft.runs.directory import RunDirectory, read_record
from metaft.runs.metrics import Metrics, read_rows
from metaft.runs.schedule import fraction_done, learning_rate


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    run = RunDirectory.open(tmp_path / "r")
    run.write_record(state="running")
    program = (
        "import sys\nfrom metaft.errors import MetaftError\nfrom metaft.runs.directory import RunDirectory\n"
        "try: RunDirectory.open(sys.argv[1], resume=True)\nexcept MetaftError as e: print(e)\n"
    )
    call = [sys.executable, "-c", program, str(tmp_path / "r")]
    root = Path(__file__).parents[2]
    said = subprocess.run(call, cwd=root, capture_output=True, text=True, check=True).stdout
    assert "in use by another process (pid" in said
    run.close()
    assert subprocess.run(call, cwd=root, capture_output=True, text=True, check=True).stdout == ""


def test_what_is_not_a_run_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(MetaftError, match=r"holds no run|no run in"):
            RunDirectory.open(tmp_path, **how)
    with pytest.raises(MetaftError, match="is a file"):
        RunDirectory.open(tmp_path / "thesis.tex")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_overwriting_removes_only_a_runs_own_files(tmp_path: Path) -> None:
    first = RunDirectory.open(tmp_path / "r")
    first.write_record(state="finished")
    (first.path / "notes.txt").write_text("mine")
    first.checkpoints.mkdir()
    first.close()
    RunDirectory.open(tmp_path / "r", overwrite=True).close()
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == [".lock", "notes.txt"]


def test_a_damaged_record(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(MetaftError, match="is damaged"):
        read_record(tmp_path)


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    log = Metrics(tmp_path / "m.jsonl", tmp_path / "tb")
    log.write("train", 1, {"loss": 0.5, "accuracy_per_step": [0.2, float("nan")]})
    offset = log.sync()
    log.write("train", 2, {"loss": 0.25})
    log.close()
    log = Metrics(tmp_path / "m.jsonl", tmp_path / "tb", offset, iteration=1)
    log.write("train", 2, {"loss": 0.125})
    log.close()
    assert read_rows(tmp_path / "m.jsonl") == [
        {"kind": "train", "iteration": 1, "loss": 0.5, "accuracy_per_step": [0.2, None]},
        {"kind": "train", "iteration": 2, "loss": 0.125},
    ]


def test_schedule() -> None:
    assert [learning_rate(2.0, "constant", d) for d in (0.0, 1.0)] == [2.0, 2.0]
    assert [learning_rate(2.0, "cosine", d) for d in (0.0, 0.5, 1.0)] == pytest.approx([2.0, 1.0, 0.0])
    assert fraction_done(5, 10, 0.0, None) == 0.5
    assert fraction_done(5, None, 45.0, 1.0) == 0.75
    assert fraction_done(5, 10, 45.0, 1.0) == 0.75
    assert fraction_done(50, 10, 0.0, None) == 1.0
