"""The module shown in docs/learn2learn.md, as it stands there, from the command line."""

import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from metaft.cli import cli

PAGE = Path(__file__).parents[2] / "docs" / "learn2learn.md"
QUICK = ["--engine", "eager", "--workers", 1, "--iterations", 3, "--tasks", 2, "--validate-tasks", 4, "--hidden", 4]


@pytest.fixture
def module(l2l, tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[1]
    few = code.replace(
        'load_images("glyphs", split)', 'load_images("glyphs", split, alphabets=1, size=16, rotations=False)'
    )
    assert few != code
    (tmp_path / "with_learn2learn.py").write_text(few)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "with_learn2learn", raising=False)


def metaft(*args):
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout


def test_its_tasks_and_algorithms_from_the_command_line(module, tmp_path):
    metaft("meta-train", "--dataset", "with_learn2learn:tasks", *QUICK, "--queries", 2, "--out", "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["family"]["family"] == "learn2learn"
    assert "accuracy" in metaft("evaluate", "run", "--tasks", 5)
    table = metaft(
        "compare", "nearest-neighbour", "run", "with_learn2learn:meta_sgd:lr=0.1,steps=2,backbone=random",
        "--dataset", "with_learn2learn:tasks", "--shots", 1, "--queries", 2, "--tasks", 5, "--out", "table",
    )  # fmt: skip
    assert "meta_sgd" in table
    assert "transductive" in table
