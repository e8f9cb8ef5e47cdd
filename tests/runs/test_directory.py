from __future__ import annotations

import errno
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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


@pytest.mark.parametrize("left", [[".lock"], [".lock", "config.toml"], [".lock", ".run.json.1a2b3c4d.partial"]])
def test_what_a_kill_at_the_very_beginning_leaves_is_free(tmp_path: Path, left: list[str]) -> None:
    for name in left:
        (tmp_path / name).write_text("x")
    with pytest.raises(MetaftError, match="leave out --resume"):
        RunDirectory.open(tmp_path, resume=True)
    RunDirectory.open(tmp_path).close()
    assert not list(tmp_path.glob("*.partial"))


def test_a_users_own_config_is_not_taken_for_a_killed_run(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("mine")
    with pytest.raises(MetaftError, match="holds no run"):
        RunDirectory.open(tmp_path)


def test_a_run_that_another_process_began_and_ended_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = RunDirectory.lock

    def late(run: RunDirectory) -> None:
        (run.path / "run.json").write_text('{"state": "finished"}')
        lock(run)

    monkeypatch.setattr(RunDirectory, "lock", late)
    with pytest.raises(MetaftError, match="already holds a run"):
        RunDirectory.open(tmp_path / "r")
    assert read_record(tmp_path / "r") == {"state": "finished"}


def test_overwriting_removes_what_makes_it_a_run_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RunDirectory.open(tmp_path / "r")
    first.write_record(state="finished")
    first.checkpoints.mkdir()
    first.close()

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        RunDirectory.open(tmp_path / "r", overwrite=True)
    monkeypatch.undo()
    RunDirectory.open(tmp_path / "r", overwrite=True).close()
    assert [p.name for p in (tmp_path / "r").iterdir()] == [".lock"]


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


def test_a_full_disk_is_one_line_also_for_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Metrics(tmp_path / "m.jsonl", tmp_path / "tb")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MetaftError, match=r"m\.jsonl: no space left on the disk"):
        log.sync()
    assert [t.name for t in threading.enumerate() if "AsyncWriter" in type(t).__name__] == []


def test_event_files_are_read_in_the_order_they_were_made(tmp_path: Path) -> None:
    # Four within one second: TensorBoard goes by the names.
    for iteration in (0, 4, 2, 6):
        log = Metrics(tmp_path / "m.jsonl", tmp_path / "tb", 0, iteration)
        log.write("train", iteration + 1, {"loss": float(iteration)})
        log.write("train", iteration + 2, {"loss": float(iteration)})
        log.close()
    events = EventAccumulator(str(tmp_path / "tb")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0), (2, 0), (3, 2), (4, 2), (7, 6), (8, 6)]


def test_schedule() -> None:
    assert [learning_rate(2.0, "constant", d) for d in (0.0, 1.0)] == [2.0, 2.0]
    assert [learning_rate(2.0, "cosine", d) for d in (0.0, 0.5, 1.0)] == pytest.approx([2.0, 1.0, 0.0])
    assert fraction_done(5, 10, 0.0, None) == 0.5
    assert fraction_done(5, None, 45.0, 1.0) == 0.75
    assert fraction_done(5, 10, 45.0, 1.0) == 0.75
    assert fraction_done(50, 10, 0.0, None) == 1.0
