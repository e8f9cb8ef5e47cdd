"""Resuming and overwriting: what was evaluated is kept, and nobody else's files are touched."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from metaft.commands.compare.compare import read_cells
from tests.runs.comparing.shared import OWN, WAVES, metaft

PLAIN = ("compare", "nearest-neighbour", "nearest-neighbour:k=1,label=one", "--dataset", "own_compared:marks",
         "--ways", 3)  # fmt: skip


def counts(folder: str) -> list[int]:
    return [cell.result.tasks for cell in read_cells(Path(folder) / "results.jsonl")]


@pytest.mark.usefixtures("undrawn")
def test_resuming_with_other_tasks_keeps_what_was_evaluated() -> None:
    """Fault 40: the rows of 8 tasks were replaced by those of 5."""
    call = [*PLAIN, "--queries", 2, "--out", "kept"]
    assert metaft(*call, "--tasks", 8).exit_code == 0
    before = Path("kept/results.jsonl").read_text().splitlines()
    assert metaft(*call, "--tasks", 5, "--resume").exit_code == 0
    after = Path("kept/results.jsonl").read_text().splitlines()
    assert after[:2] == before
    assert counts("kept") == [8, 8, 5, 5]
    assert json.loads(Path("kept/comparison.json").read_text())["tasks"] == 5
    assert metaft(*call, "--tasks", 8, "--resume").exit_code == 0
    assert Path("kept/results.jsonl").read_text().splitlines() == after, "both are there: nothing is made again"
    assert json.loads(Path("kept/comparison.json").read_text())["tasks"] == 8


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "change", [("--queries", 3), ("--seed", 7), ("--ways", 4), ("--shots", 2)], ids=lambda change: change[0]
)
def test_all_that_a_score_depends_on_is_part_of_its_key(change: tuple[str, int]) -> None:
    folder = f"key{change[0]}"
    call = [*PLAIN, "--tasks", 4, "--queries", 2, "--out", folder]
    assert metaft(*call).exit_code == 0
    before = Path(folder, "results.jsonl").read_text()
    assert metaft(*call, *change, "--resume").exit_code == 0
    after = Path(folder, "results.jsonl").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 4


@pytest.mark.usefixtures("undrawn")
def test_a_score_of_other_images_code_or_version_is_not_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = OWN.replace('Path("stop").exists()', "False")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    call = ["compare", "own_changed:Mine", "--dataset", "own_changed:marks", "--ways", 3, "--queries", 2, "--tasks", 4]

    def made(text: str, *more: str) -> int:
        Path("own_changed.py").write_text(text)
        sys.modules.pop("own_changed", None)
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        result = metaft(*call, "--out", "changed", *more)
        assert result.exit_code == 0, result.stderr
        return len(counts("changed"))

    assert made(code) == 1
    assert made(code, "--resume") == 1
    assert made(code + "\n# another file\n", "--resume") == 2
    assert made(code.replace("manual_seed(first)", "manual_seed(first + 1)"), "--resume") == 3, "other images"
    monkeypatch.setattr("metaft.evaluation.benchmark.EVALUATION", 99)
    assert made(code, "--resume") == 4, "another version of the evaluation"


@pytest.mark.usefixtures("undrawn")
def test_steps_and_batch_norm_are_part_of_the_key() -> None:
    call = ["compare", *WAVES, "--out", "steps-key"]
    assert metaft(*call, "waves-0").exit_code == 0
    assert metaft(*call, "waves-0", "--steps", 1, "--resume").exit_code == 0
    assert metaft(*call, "waves-0:weights=last", "--resume").exit_code == 0
    cells = read_cells(Path("steps-key/results.jsonl"))
    assert [len(cell.result.steps) for cell in cells] == [3, 2, 3]


@pytest.mark.usefixtures("undrawn")
def test_only_what_a_comparison_wrote_is_replaced() -> None:
    folder = Path("mine-too")
    call = [*PLAIN, "--tasks", 3, "--queries", 2, "--out", str(folder)]
    assert metaft(*call).exit_code == 0
    mine = [folder / "notes.txt", folder / "tensorboard" / "one" / "mine.csv", folder / "tensorboard" / "mine.txt"]
    for file in mine:
        file.write_text("mine")
    assert metaft(*call, "--overwrite").exit_code == 0
    assert [file.read_text() for file in mine] == ["mine"] * 3
    assert len(list((folder / "tensorboard" / "one").glob("events*"))) == 1


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
def test_anybodys_results_are_not_a_comparison(option: str) -> None:
    folder = Path(f"anybodys{option}")
    folder.mkdir()
    for text in ('{"accuracy": 0.5}\n', "", "not json\n"):
        (folder / "results.jsonl").write_text(text)
        result = metaft(*PLAIN, "--tasks", 3, "--queries", 2, "--out", folder, option)
        assert result.exit_code == 2
        assert "not one that metaft wrote" in result.stderr
        assert (folder / "results.jsonl").read_text() == text
