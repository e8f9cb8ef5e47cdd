"""A small distillation for the tests, and what it came to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from metaft.commands.distill.distill import distill
from metaft.commands.distill.report import Report
from metaft.runs import checkpoint
from metaft.runs.metrics import read_rows
from metaft.settings.config import validated
from metaft.settings.distill import DistillConfig

DATASET = "tests.runs.own_images:images"
SMALL: dict[str, Any] = {
    "dataset": DATASET, "model": "mlp", "hidden": 12, "ways": 3, "queries": 4, "iterations": 12, "batch_size": 12,
    "outer_lr": 0.01, "log_every": 4, "validate_every": 5, "validate_tasks": 6, "checkpoint_every": 3,
    "validation": "classification", "validation_share": 3, "test_share": 3, "test_tasks": 8, "generations": 2,
    "label_weight": 0.3,
}  # fmt: skip
CLOCK = ("seconds", "tasks_per_second")


def settings(**more: Any) -> DistillConfig:
    return validated(DistillConfig, {**SMALL, **more})


def run(out: Path, resume: bool = False, **more: Any) -> Report:
    return distill(settings(**more), out, resume=resume, progress=False)


def numbers(out: Path) -> dict[str, Any]:
    """What a distillation came to, but for the clock."""
    results = json.loads((out / "distillation.json").read_text())["results"]
    return {name: {k: v for k, v in row.items() if k != "seconds"} for name, row in results.items()}


def rows(out: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in read_rows(out / "metrics.jsonl")]


def require_equal(one: Path, other: Path) -> None:
    """Weights, optimisers, logs and scores of all generations, bit for bit."""
    names = sorted(path.name for path in one.glob("generation-*"))
    assert names == sorted(path.name for path in other.glob("generation-*"))
    for name in names:
        first, second = (checkpoint.load_newest(path / name / "checkpoints") for path in (one, other))
        for part in checkpoint.PARTS:
            a, b = getattr(first, part), getattr(second, part)
            assert a.keys() == b.keys()
            assert all(torch.equal(value, b[entry]) for entry, value in a.items())
        assert rows(one / name) == rows(other / name)
    assert numbers(one) == numbers(other)
