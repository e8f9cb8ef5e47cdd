"""Places where nothing can be written are said in one line, by every command, before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from metaft.cli import cli
from metaft.errors import MetaftError
from metaft.files import folder_path
from metaft.runs.directory import RunDirectory

GRID = 'command = "validate"\nlearner = "nearest-neighbour"\n[base]\ndataset = "glyphs"\nvalidate_tasks = 2\n'
WRITERS = {
    "meta-train": ["meta-train", "--dataset", "sinusoid", "--iterations", "1"],
    "pretrain": ["pretrain"],
    "distill": ["distill"],
    "compare": ["compare", "nearest-neighbour"],
    "sweep": ["sweep", "grid.toml"],
}
PLACES = {
    "x" * 5000: "File name too long",
    "y/" * 2500: "File name too long",
    "dangling": "dangling is a link that leads nowhere",
    "dangling/x": "dangling is a link that leads nowhere",
    "loop/x": "cannot be used",
    "file": "file is a file, a folder is needed",
    "file/x/y": "file is a file, a folder is needed, so file/x/y cannot lie in it",
    "kept": "is not",
    "closed/x": "no permission to write in closed",
    "": "is no name of a folder",
}


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("file").touch()
    Path("grid.toml").write_text(GRID)
    Path("kept").mkdir()
    Path("kept/thesis.tex").touch()
    Path("closed").mkdir(mode=0o555)
    access = os.access  # root may write anywhere
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "closed" and access(path, mode))


def metaft(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


@pytest.mark.parametrize("command", WRITERS)
def test_a_place_that_cannot_be_written(command: str) -> None:
    before = sorted(Path().rglob("*"))
    for place, said in PLACES.items():
        done = metaft(*WRITERS[command], "--out", place)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), (place[:20], done.output, done.exception)
        assert done.stderr.startswith("Error: ")
        assert said in done.stderr
        assert len(done.stderr) < 400
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("command", ["evaluate", "show", "repeat", "runs", "tensorboard", "compare nearest-neighbour"])
@pytest.mark.parametrize("place", ["x" * 5000, "y/" * 2500, "dangling", "loop/x", "file/x"], ids=lambda p: p[:9])
def test_a_run_that_cannot_be_read(command: str, place: str) -> None:
    done = metaft(*command.split(), f"{place}/" if command.startswith("compare") else place)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), (done.output, done.exception)


@pytest.mark.parametrize("option", ["--json", "--plot"])
@pytest.mark.parametrize("place", ["x" * 5000, "dangling/x", "file/x", "kept", "closed/x"], ids=lambda p: p[:9])
def test_a_result_that_could_not_be_written_is_refused_before_the_work(option: str, place: str) -> None:
    done = metaft("evaluate", "absent", option, place)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), (done.output, done.exception)
    assert "absent" not in done.stderr


def test_places_with_two_points() -> None:
    assert folder_path("kept/../new") == Path("kept/../new"), "as the disk has it: kept may be a link"
    assert folder_path("missing/../new") == Path("new")
    run = RunDirectory.open("missing/../new")
    run.write_record(state="finished")
    run.close()
    assert Path("new/run.json").exists()
    assert not Path("missing").exists()
    with pytest.raises(MetaftError, match="already holds a run"):
        RunDirectory.open("missing/../new")


def test_nothing_of_a_path_is_followed_by_a_null() -> None:
    with pytest.raises(MetaftError, match="no name of a folder"):
        RunDirectory.open("a\0b")
