"""A sweep's files may be damaged, or a stranger's: what does not hold together is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metaft.commands.sweep.record import read_grid_of, state_of
from metaft.errors import MetaftError

SOUND: dict[str, Any] = {
    "name": "inner_lr=0.1+seed=0", "setting": 0, "varied": {"inner_lr": 0.1}, "seed": 0,
    "settings": {"inner_lr": 0.1}, "learner": None, "state": "waiting", "reason": None,
}  # fmt: skip
SCORE = {"metric": "accuracy", "mode": "inductive", "mean": 0.5, "ci95": None, "per_task": [0.25, 0.75]}


def written(folder: Path, command: str = "meta-train", **changes: Any) -> Path:
    member = {name: value for name, value in {**SOUND, **changes}.items() if value is not ...}
    (folder / "sweep.json").write_text(json.dumps({"command": command, "members": [member]}))
    return folder


def test_a_sound_record_is_read(tmp_path: Path) -> None:
    (member,) = read_grid_of(written(tmp_path)).members
    assert (member.name, member.varied, member.settings) == (SOUND["name"], {"inner_lr": 0.1}, {"inner_lr": 0.1})


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../elsewhere"}, {"name": "a/b"}, {"name": ""}, {"name": "-rf"}, {"name": 3}, {"name": ...},
        {"setting": True}, {"setting": "0"}, {"seed": 1.5}, {"seed": None}, {"settings": []}, {"settings": ...},
        {"varied": {"a": [1]}}, {"varied": {"a": {}}}, {"learner": "class-means"}, {"learner": 3},
        {"command": "validate"}, {"command": "rm"},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_record_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(MetaftError, match="is damaged") as error:
        read_grid_of(written(tmp_path, **changes))
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    "change", [{}, {"mean": None}, {"mean": float("nan")}, {"metric": "loss"}, {"mode": "\x1b[2J"}, {"per_task": "x"}]
)
def test_a_damaged_score_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    grid = read_grid_of(written(tmp_path, "validate", learner="nearest-neighbour", settings={}))
    (tmp_path / "members").mkdir()
    (tmp_path / "members" / f"{SOUND['name']}.json").write_text(json.dumps({**SCORE, **change}))
    if not change:
        assert state_of(tmp_path, grid).candidates[0].per_task == ((0.25, 0.75),)
        return
    with pytest.raises(MetaftError, match="it holds no score"):
        state_of(tmp_path, grid)
