"""A family of anybody's own may call its attributes as it likes."""

from __future__ import annotations

import json
from pathlib import Path

from metaft.inner.rules import SGD
from metaft.learners.maml import MAML
from metaft.models import build
from metaft.tasks.sinusoid import Sinusoids
from metaft.training.loop import meta_train


class Own(Sinusoids):
    metric = "furlongs"
    counted = "sheep"
    each = "of them"
    files = ("a.csv",)
    run_files = ("b.csv",)

    def samples(self, *anything: object) -> None:
        raise AssertionError("this is somebody's own")


def test_names_that_metaft_has_uses_for_are_left_alone(tmp_path: Path) -> None:
    model = build("mlp", outputs=1, input_shape=(1,), seed=0)
    learner = MAML(model, SGD(0.01), 1, kind="regression", engine="eager")
    result = meta_train(learner, Own(), 2, 2, out=tmp_path / "run", validation=Own(seed=1), validate_tasks=2)
    assert result.metric == "mse"
    assert "best_validation_mse" in json.loads((tmp_path / "run/run.json").read_text())
    assert not (tmp_path / "run/b.csv").exists()
