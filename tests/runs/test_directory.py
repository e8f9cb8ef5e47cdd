from __future__ import annotations

import errno
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metaft.errors import MetaftError
from metaft.evaluation.report import write_result
from metaft.runs import checkpoint
from metaft.runs.checkpoint import Checkpoint
from metaft.runs.directory import RunDirectory, read_record
from metaft.runs.metrics import Metrics, read_rows
from metaft.training.schedule import fraction_done, learning_rate


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
    with pytest.raises(MetaftError, match="leave out resume=True"):
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

    monkeypatch.setattr("metaft.runs.own_files.remove_events", killed)
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


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _as_a_run_leaves_it(folder: Path) -> None:
    """What a finished distillation with evaluations consists of, in every place that a run writes to."""
    for own in (folder, folder / "generation-0", folder / "candidates" / "temperature-4"):
        run = RunDirectory.open(own)
        run.write_record(state="finished")
        checkpoint.save(run.checkpoints, Checkpoint({"iteration": 10}, {"w": torch.ones(2)}))
        Metrics(run.metrics, run.tensorboard).close()
        for name in ("config.toml", "episode.png", "distillation.json", "soft_labels.png"):
            (own / name).write_text("x")
        write_result(own / "evaluations" / "old-name.json", {"maml": {"mean": 1.0}}, "metaft evaluate", [0])
        for name in ("old-name.png", "glyphs-test-5way-1shot-0a1b2c3d.png"):
            (own / "evaluations" / name).write_text("x")
        run.close()


def test_overwriting_removes_all_that_a_run_wrote(tmp_path: Path) -> None:
    _as_a_run_leaves_it(tmp_path / "r")
    RunDirectory.open(tmp_path / "r", overwrite=True).close()
    assert [path.name for path in (tmp_path / "r").rglob("*")] == [".lock"]


MINE = (
    "notes.txt", "checkpoints/mine.pt", "checkpoints/iteration-best/w.pt", "checkpoints/iteration-0000000010/why.txt",
    "checkpoints/iteration-0000000010-kept/progress.json", "evaluations/mine.csv", "evaluations/mine.json",
    "evaluations/mine.png", "tensorboard/mine.txt", "tensorboard/other/events.out.tfevents.1700000000.host.1.0",
    "generation-notes/a.txt", "generation-0/a.txt", "generation-7/run.json", "generation-7/config.toml",
    "candidates/a.txt", "candidates/temperature-4/a.txt", "tensorboard/events.json",
)  # fmt: skip


def test_overwriting_leaves_all_that_a_run_did_not_write(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    _as_a_run_leaves_it(folder)
    for name in MINE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    RunDirectory.open(folder, overwrite=True).close()
    assert _files(folder) - {".lock", "generation-0/.lock", "candidates/temperature-4/.lock"} == set(MINE)


@pytest.mark.parametrize("content", ["{}", '{"state": "finished"}', '{"name": "a model of mine"}', "not JSON", "[1]"])
def test_a_record_that_is_not_ours_is_never_touched(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "r"
    names = ("run.json", "checkpoints/mine.pt", "evaluations/mine.csv", "notes.txt", "config.toml", "metrics.jsonl")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(MetaftError, match=r"not one that metaft wrote|is damaged"):
            RunDirectory.open(folder, **how)
    assert _files(folder) == set(names)


def test_records_of_older_runs_are_known(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"state": "finished", "environment": {"versions": {"metaft": "0.0.9"}}}')
    RunDirectory.open(tmp_path, overwrite=True).close()
    assert _files(tmp_path) == {".lock"}


def test_a_users_files_among_the_checkpoints_are_no_checkpoints(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for name in ("iteration-best", "iteration-0000000001-kept"):
        (folder / name).mkdir(parents=True)
        (folder / name / "weights.safetensors").write_text("mine")
    assert checkpoint.newest_name(folder) is None
    for iteration in (1, 2, 3):
        checkpoint.save(folder, Checkpoint({"iteration": iteration}, {"w": torch.ones(2)}))
        (folder / f"iteration-{iteration:010d}" / "why.txt").write_text("mine")
    assert checkpoint.load_newest(folder).progress == {"iteration": 3}
    # The first is no longer kept, all but what the user has put there; and it can be written again.
    assert [p.name for p in (folder / "iteration-0000000001").iterdir()] == ["why.txt"]
    checkpoint.save(folder, Checkpoint({"iteration": 1}, {"w": torch.zeros(2)}))
    assert checkpoint.load_newest(folder).progress == {"iteration": 1}
    assert {"iteration-best/weights.safetensors", "iteration-0000000001/why.txt", "iteration-0000000002/why.txt"} <= (
        _files(folder)
    )
