"""The page of any module goes on from where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.any_module import __main__ as any_module


def test_what_was_found_at_this_commit_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, at = tmp_path / "kept.jsonl", ["a"]
    monkeypatch.setattr(any_module, "commit", lambda: at[0])
    assert any_module.earlier(kept) == {}
    line = lambda name, commit, **found: json.dumps({"name": name, "commit": commit, "found": found})
    rows: list[Any] = [line("LayerNorm", "b", errors={}), line("LSTM", "a", of=1), line("LSTM", "a", of=2)]
    kept.write_text("\n".join([*rows, line("GRU", "a", of=3)[:-1]]), encoding="utf-8")
    assert any_module.earlier(kept) == {"LSTM": {"of": 2}}
    at[0] = "b"
    assert any_module.earlier(kept) == {"LayerNorm": {"errors": {}}}
