"""A distillation that was stopped or killed ends bit for bit as one that was not; a changed one is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from metaft.assembly.backbone import load_backbone
from metaft.commands.distill.distill import distill
from metaft.errors import MetaftError
from metaft.runs.listing import summarise_run
from metaft.settings.distill import generation_config
from metaft.tasks.minibatches import Minibatch, Minibatches
from metaft.training.stopping import StoppedRun
from tests.runs.distilled import SMALL, require_equal, run, settings


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks for a stop at a minibatch of a generation, told by the seed of its order."""
    asked: dict[str, int] = {}
    plain = Minibatches.batch

    def batch(self: Minibatches, index: int, tasks: int) -> Minibatch:
        if (self.seed, index, tasks) == (asked.get("seed"), asked.get("at"), SMALL["batch_size"]) and asked["at"]:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, index, tasks)

    monkeypatch.setattr(Minibatches, "batch", batch)

    def ask(generation: int, at: int) -> None:
        asked.update(seed=generation_config(settings(), generation, 1, 4.0).seed, at=at)

    return ask


@pytest.mark.parametrize(("generation", "at"), [(0, 4), (1, 7), (2, 10)])
def test_a_line_killed_within_a_generation_ends_as_one_that_never_stopped(
    generation: int, at: int, distilled: Path, tmp_path: Path, stop: Any
) -> None:
    out = tmp_path / "stopped"
    stop(generation, at)
    with pytest.raises(StoppedRun, match="distill --resume --out"):
        run(out)
    assert summarise_run(out).state == "stopped"
    assert not (out / "distillation.json").exists()
    assert not (out / f"generation-{generation + 1}").exists()
    stop(generation, 0)
    run(out, resume=True)
    require_equal(distilled, out)


class Killed(BaseException):
    """As sudden as a power cut."""


@pytest.mark.parametrize("moment", ["generation-1 begins", "generation-1: validation", "scoring"])
def test_a_line_killed_between_generations_ends_as_one_that_never_stopped(
    moment: str, distilled: Path, tmp_path: Path
) -> None:
    def watch(line: str) -> None:
        if line.replace(":", "", 1).startswith(moment) or line.startswith(moment):
            raise Killed

    out = tmp_path / "killed"
    with pytest.raises(Killed):
        distill(settings(), out, progress=False, watch=watch)
    assert summarise_run(out).state == "interrupted"
    run(out, resume=True)
    require_equal(distilled, out)


@pytest.mark.parametrize("moment", ["temperature-8: begins", "temperature 1 is", "temperature 8 is", "generation-2: b"])
def test_a_choice_of_temperature_that_was_killed_ends_as_one_that_was_not(moment: str, tmp_path: Path) -> None:
    def watch(line: str) -> None:
        if line.startswith(moment):
            raise Killed

    run(tmp_path / "whole", temperature="1,8")
    try:
        distill(settings(temperature="1,8"), tmp_path / "killed", progress=False, watch=watch)
    except Killed:
        run(tmp_path / "killed", resume=True, temperature="1,8")
    require_equal(tmp_path / "whole", tmp_path / "killed")


def test_more_generations_may_be_added_later(distilled: Path, tmp_path: Path) -> None:
    shutil.copytree(distilled, tmp_path / "more")
    run(tmp_path / "more", resume=True, generations=3)
    run(tmp_path / "three", generations=3)
    require_equal(tmp_path / "three", tmp_path / "more")
    with pytest.raises(MetaftError, match=r"begun with label_weight = 0\.3, not 0\.4"):
        run(tmp_path / "more", resume=True, generations=3, label_weight=0.4)


def test_a_teacher_that_changed_is_not_gone_on_with(distilled: Path, tmp_path: Path) -> None:
    shutil.copytree(distilled / "generation-0", tmp_path / "t")
    run(tmp_path / "a", teacher=str(tmp_path / "t"), generations=1)
    shutil.rmtree(tmp_path / "t")
    shutil.copytree(distilled / "generation-1", tmp_path / "t")
    with pytest.raises(MetaftError, match="is another network than the one the run was begun with"):
        run(tmp_path / "a", resume=True, teacher=str(tmp_path / "t"), generations=1)


def test_a_line_that_is_not_finished_has_no_best_network(distilled: Path, tmp_path: Path) -> None:
    shutil.copytree(distilled, tmp_path / "c")
    record = json.loads((tmp_path / "c/run.json").read_text())
    del record["best_generation"]
    (tmp_path / "c/run.json").write_text(json.dumps(record))
    with pytest.raises(MetaftError, match="is not finished, so no generation is the best"):
        load_backbone(tmp_path / "c")
