"""The notebook of docs/ runs as it stands, and its outputs are those of its cells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.notebook import NOTEBOOK, executed, read

CELLS = read()["cells"]


def told(cell: dict[str, Any]) -> str:
    """What a cell says in words."""
    texts = [output.get("text") or output["data"]["text/plain"] for output in cell["outputs"]]
    return "".join("".join(text) for text in texts)


def test_it_is_small_and_has_its_outputs() -> None:
    assert NOTEBOOK.stat().st_size < 250_000
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    assert all(cell["outputs"] for cell in code)
    assert not re.search(r"(/home|/root|/tmp|/work|/Users)/", json.dumps(CELLS))


def test_pages_that_it_names_exist() -> None:
    text = "".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")
    targets = re.findall(r"\]\(([\w.]+)\)", text)
    assert targets
    assert all((NOTEBOOK.parent / target).exists() for target in targets)


def test_its_cells_run_and_say_what_stands_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAFT_DATA", str(tmp_path / "nothing"))
    now = executed(CELLS)
    # Numbers of trained weights may differ by machine, and seconds do: they are left out.
    plain = lambda cell: re.sub(r"\d+\.\d+(e-?\d+)?", "#", told(cell))
    for before, after in zip(CELLS, now, strict=True):
        if before["cell_type"] == "code":
            assert plain(after) == plain(before)
            kinds = [[*output.get("data", [])] for output in before["outputs"]]
            assert [[*output.get("data", [])] for output in after["outputs"]] == kinds
