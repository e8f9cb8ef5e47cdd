import importlib
import json
import math
import os
import subprocess
from datetime import datetime
from io import StringIO

import pytest
import torch
from rich.console import Console

from metaft.environment import environment
from metaft.errors import MetaftError
from metaft.evaluation.evaluate import evaluate
from metaft.evaluation.report import (
    comparison_rows,
    comparison_table,
    format_score,
    markdown_table,
    result_table,
    write_result,
)
from metaft.learners.nearest_neighbour import NearestNeighbour
from tests.evaluation.toys import Blobs, Fixed, LineFitter, Lines


def printed(table):
    console = Console(file=StringIO(), width=100)
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("score", "text"),
    [
        ((0.98732, 0.0024, "accuracy"), "98.73 ± 0.24"),
        ((0.5, math.nan, "accuracy"), "50.00"),
        ((math.nan, math.nan, "mse"), "n/a"),
        ((0.41234, 0.0312, "mse"), "0.412 ± 0.031"),
        ((0.0123456, 0.000123, "mse"), "0.01235 ± 0.00012"),
        ((12.5, 3.0, "mse"), "12.500 ± 3.000"),
    ],
)
def test_scores_are_written_with_their_interval(score, text):
    assert format_score(*score) == text


def test_table_has_a_row_per_step_and_says_the_mode():
    result = evaluate(LineFitter(transductive=True), Lines(), tasks=30, steps=2)
    text = printed(result_table(result))
    assert "transductive" in text
    assert "30 tasks" in text
    for step, (mean, ci95) in enumerate(result.per_step):
        assert any(
            line.split()[0] == str(step) and format_score(mean, ci95, "mse") in line
            for line in text.splitlines()
            if line.strip()
        )


def test_table_names_diverged_tasks():
    broken = Fixed(lambda b: torch.full_like(b.query_y, math.nan).unsqueeze(0))
    text = printed(result_table(evaluate(broken, Lines(), tasks=12)))
    assert "12 diverged (left out of the mean): task 0, 1, 2, 3, 4, 5, 6, 7, …" in text
    assert "n/a" in text


def test_comparison_puts_learners_side_by_side():
    results = {
        "pixels": evaluate(NearestNeighbour(), Blobs(), tasks=20),
        "cosine": evaluate(NearestNeighbour(metric="cosine"), Blobs(), tasks=20),
    }
    heads, rows = comparison_rows(results)
    assert [row[0] for row in rows] == ["pixels", "cosine"]
    assert all(len(row) == len(heads) and "inductive" in row for row in rows)
    assert format_score(results["pixels"].mean, results["pixels"].ci95, "accuracy") in printed(
        comparison_table(results, "blobs")
    )
    with pytest.raises(MetaftError, match=r"accuracy.*mse"):
        comparison_rows({**results, "line": evaluate(LineFitter(), Lines(), tasks=3)})


def test_markdown():
    text = markdown_table(["learner", "score"], [["a|b", 1], ["two\nlines", "1 ± 2"]])
    assert text.splitlines() == [
        "| learner | score |",
        "| --- | --- |",
        "| a\\|b | 1 |",
        "| two<br>lines | 1 ± 2 |",
    ]
    with pytest.raises(MetaftError, match="2 columns got a row of 1"):
        markdown_table(["a", "b"], [[1]])


def test_written_results_say_how_they_were_made(tmp_path):
    result = evaluate(LineFitter(), Lines(seed=4), tasks=8)
    path = tmp_path / "new" / "result.json"
    write_result(path, {"line": result, "own": {"x": 1}}, ["metaft", "evaluate", "a run"], [4], {"note": "n"})
    page = json.loads(path.read_text())
    assert page["command"] == "metaft evaluate 'a run'"
    assert page["seeds"] == [4]
    assert page["note"] == "n"
    assert page["versions"]["torch"] == torch.__version__
    assert page["machine"]["threads"] == torch.get_num_threads()
    assert page["results"]["own"] == {"x": 1}
    assert page["results"]["line"]["mean"] == pytest.approx(result.mean)
    assert page["results"]["line"]["per_task"] == pytest.approx(result.per_task.tolist(), abs=1e-6)
    assert os.listdir(path.parent) == ["result.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    path.write_text("old")
    for results, extra, message in [
        ({"a": {"x": math.nan}}, None, "not plain JSON"),
        ({"a": {"x": torch.zeros(2)}}, None, "not plain JSON"),
        ({}, {"seeds": [1]}, "cannot be named seeds"),
    ]:
        with pytest.raises(MetaftError, match=message):
            write_result(path, results, "c", [0], extra)

    def full(handle):
        raise OSError(28, "No space left on device")

    def crashed(source, target):
        raise OSError(5, "Input/output error")

    for name, broken, message in [("fsync", full, "no space left on the disk"), ("replace", crashed, "output error")]:
        with monkeypatch.context() as patch:
            patch.setattr(os, name, broken)
            with pytest.raises(MetaftError, match=message):
                write_result(path, {}, "c", [0])
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_file_in_place_of_a_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MetaftError, match="cannot write"):
        write_result(tmp_path / "file" / "result.json", {}, "c", [0])


def test_environment_is_plain_and_names_no_path():
    found = environment()
    text = json.dumps(found, allow_nan=False)
    assert os.path.expanduser("~") not in text
    assert os.getcwd() not in text
    assert found["machine"]["cores"] >= 1
    assert datetime.fromisoformat(found["date"]).utcoffset().total_seconds() == 0


def test_the_commit_is_dirty_by_what_made_numbers_not_by_numbers(tmp_path, monkeypatch):
    module = importlib.import_module("metaft.environment")
    (tmp_path / "metaft").mkdir()
    (tmp_path / "results").mkdir()
    for name in ("metaft/code.py", "results/page.md"):
        (tmp_path / name).write_text("one")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "metaft" / "environment.py"))
    clean = module.environment()["commit"]
    assert len(clean) == 12
    (tmp_path / "results/page.md").write_text("two")
    (tmp_path / "new.txt").write_text("not tracked")
    assert module.environment()["commit"] == clean
    (tmp_path / "metaft/code.py").write_text("two")
    assert module.environment()["commit"] == f"{clean}-dirty"
