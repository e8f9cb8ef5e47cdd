"""The README is short, and what it shows works as it stands: its Python, its commands, its numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_docs import blocks_of, commands_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short() -> None:
    (code,) = [text for kind, text in blocks_of(README) if kind == "python"]
    assert len([line for line in code.splitlines() if line]) <= 10
    assert len(commands_of(README)) == 5
    assert len(README.splitlines()) < 80


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With fewer iterations and tasks than it says; all else as it stands."""
    monkeypatch.chdir(tmp_path)
    (code,) = [text for kind, text in blocks_of(README) if kind == "python"]
    quick, changed = re.subn(r"\b(iterations|tasks)=\d+", r"\1=2", code)
    assert changed == 3
    exec(quick, {})
    assert 0 <= float(capsys.readouterr().out.split()[-1]) <= 1
    assert (tmp_path / "runs/first/run.json").exists()


def test_its_numbers_stand_on_the_pages_it_names() -> None:
    rows = [line.split("|") for line in README.splitlines() if line.startswith("| ")][1:]
    rows = [row for row in rows if "---" not in row[1]]
    assert len(rows) == 5
    for _, what, result, *_, link, _ in rows:
        page = (ROOT / re.search(r"\(([\w/.]+)\)", link)[1]).read_text(encoding="utf-8")  # type: ignore[index]
        numbers = re.findall(r"\d+\.\d+", result)
        assert numbers, what
        assert [number for number in numbers if number not in page] == [], what
