"""Runs made before learners had their options in their name: they load, score as they did, go on, and are shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from metaft.assembly.meta_learner import run_config
from metaft.cli import cli

BEFORE = Path(__file__).parent / "before"
RUNS = {
    "imaml": ("imaml:objective_weight=3.0,solver_iterations=4", [0.191365, 8.110588, 4.098014, 2.788558]),
    "cavia": ("cavia", [0.1, 0.1, 0.3, 0.2]),
    "protonet": ("protonet:distance=cosine", [0.3, 0.2, 0.4, 0.4]),
    "maml-plus-plus": ("maml++:epochs=6,multi_step_epochs=2,first_order_epochs=0", [0.2, 0.1, 0.3, 0.2]),
}
"""Folder → its learner as it is asked for now, and what the metaft that made it scored on four test tasks."""


def metaft(*words: object) -> str:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("name", RUNS)
def test_it_is_read_and_scores_as_it_did(name: str, tmp_path: Path) -> None:
    asked, scores = RUNS[name]
    assert run_config(BEFORE / name).learner == asked
    shutil.copytree(BEFORE / name, tmp_path / "run")
    metaft("evaluate", tmp_path / "run", "--tasks", 4, "--json", tmp_path / "scores.json")
    (found,) = json.loads((tmp_path / "scores.json").read_text())["results"].values()
    assert found["per_task"] == pytest.approx(scores, rel=1e-4)
    assert asked.partition(":")[0] in metaft("show", tmp_path / "run")


@pytest.mark.parametrize("name", ["imaml", "maml-plus-plus", "cavia"])  # the third would be compiled
def test_it_goes_on(name: str, tmp_path: Path) -> None:
    shutil.copytree(BEFORE / name, tmp_path / "run")
    metaft("meta-train", "--resume", "--out", tmp_path / "run", "--iterations", 5, "--quiet")
    assert json.loads((tmp_path / "run/run.json").read_text())["iteration"] == 5


def test_another_option_is_refused_when_it_goes_on(tmp_path: Path) -> None:
    shutil.copytree(BEFORE / "imaml", tmp_path / "run")
    words = ["meta-train", "--resume", "--out", str(tmp_path / "run"), "--iterations", "5", "--objective-weight", "2"]
    done = CliRunner().invoke(cli, words)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
