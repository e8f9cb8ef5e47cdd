"""Files that any program can read."""

from __future__ import annotations

import json
import math
from pathlib import Path

from metaft.plain_json import finite, write_json


def test_numbers_that_are_not_finite_become_none_wherever_they_stand() -> None:
    given = {"a": math.nan, "b": [1.0, -math.inf, (math.inf, "x")], "c": {"d": True, "e": 2}}
    assert finite(given) == {"a": None, "b": [1.0, None, [None, "x"]], "c": {"d": True, "e": 2}}


def test_a_file_holds_what_json_does_not_know_as_text(tmp_path: Path) -> None:
    write_json(tmp_path / "f.json", {"path": tmp_path, "score": math.nan, "name": "é"})
    text = (tmp_path / "f.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"path": str(tmp_path), "score": None, "name": "é"}
    assert "é" in text
