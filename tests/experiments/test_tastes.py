"""Few-shot preferences as an experiment: what is known, and the rows of its table."""

from __future__ import annotations

from experiments.preferences.rows import TASTES, of_tastes
from experiments.preferences.tastes import knows_traits

PLAN = {
    "data": ["--tokenizer", "wordpiece:size=500", "--max-words", "24", "--queries", "8"],
    "tasks": 60,
}
OWN = {"dataset": "tastes:users=mix,common=0.5"}


def test_who_knows_the_traits_learns_a_user() -> None:
    few, many = (knows_traits(PLAN, OWN, shots) for shots in (1, 64))
    assert 0.5 < few["mean"] < 0.75
    assert many["mean"] > 0.9
    assert 0 < many["ci95"] < 0.05


def test_rows() -> None:
    score = {"score": {"mean": 0.625, "ci95": 0.02}, "seeds": {"low": 0.6, "high": 0.65}}
    alone = {"score": {"mean": 0.5, "ci95": 0.01}, "seeds": None}
    shots = ("1", "4", "16")
    found = {
        "scores": {"maml": dict.fromkeys(shots, score), "minilm": dict.fromkeys(shots, alone)},
        "seconds": {"maml": 61.6},
        "who knows the traits": {key: {"mean": 0.9, "ci95": 0.03} for key in shots},
    }
    rows = of_tastes(found)
    assert rows[0] == ["maml", *["62.5 ± 2.0 (60.0–65.0)"] * 3, "62"]
    assert rows[1] == ["minilm", *["50.0 ± 1.0"] * 3, "–"]
    assert rows[2] == ["who knows the traits", *["90.0 ± 3.0"] * 3, "–"]
    assert {len(row) for row in rows} == {len(TASTES)}
