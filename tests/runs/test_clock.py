"""A time budget begins once all is compiled, ends in any case, and one that was too short is not passed over."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from metaft.commands.sweep import record as sweep_record
from metaft.commands.sweep.grid import Grid, Member
from metaft.commands.sweep.page import page
from metaft.runs.showing import show_run
from metaft.training import clock, loop
from metaft.training.clock import FEW, PAUSES, Clock, few_updates
from metaft.training.loop import meta_train
from tests.runs.fakes import LinearMaml, Sinusoids


class Time:
    """A clock on the wall and a compiler, moved by hand."""

    def __init__(self) -> None:
        self.now, self.compiling = 1000.0, 5.0

    def work(self, seconds: float) -> None:
        self.now += seconds

    def compile(self, seconds: float) -> None:
        self.now += seconds
        self.compiling += seconds

    def clock(self, seconds: float = 0.0) -> Clock:
        return Clock(seconds, lambda: self.now, lambda: self.compiling)


def test_seconds_of_work() -> None:
    time = Time()
    spent = time.clock(60.0)
    assert spent() == 60.0, "a resumed run goes on where it stood"
    for _ in range(3):
        spent.tick()
        time.work(2.0)
    assert spent() == 66.0


def test_a_stretch_that_compiles_is_left_out_wherever_in_it_the_clock_is_read() -> None:
    time = Time()
    spent = time.clock()
    spent.tick()
    time.work(1.0)
    time.compile(73.0)
    assert spent() == 0.0
    time.work(0.5)
    assert spent() == 0.0
    spent.tick()
    time.work(2.0)
    assert spent() == 2.0
    spent.tick()
    time.compile(9.0)  # the first validation, say
    spent.tick()
    assert spent() == 2.0


def test_a_run_that_never_stops_compiling_ends() -> None:
    time = Time()
    spent = time.clock()
    for _ in range(PAUSES + 4):
        spent.tick()
        time.compile(10.0)
    assert spent() == 40.0


class Compiling(LinearMaml):
    """Takes a while to compile at its first call, by a clock that is moved by hand."""

    def __init__(self, time: Time, compiling: float, seconds: float) -> None:
        super().__init__()
        self.time, self.first, self.seconds = time, compiling, seconds

    def meta_gradient(self, batch: Any) -> Any:
        self.time.compile(self.first)
        self.first = 0.0
        self.time.work(self.seconds)
        return super().meta_gradient(batch)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    found = Time()
    monkeypatch.setattr(loop, "Clock", lambda seconds: found.clock(seconds))
    return found


def test_the_budget_of_a_run_begins_once_it_is_compiled(
    time: Time, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = meta_train(Compiling(time, 73.0, 0.5), Sinusoids(), None, 4, out=tmp_path, minutes=0.7, progress=False)
    assert result.iterations == 1 + 84, "0.7 minutes hold 84 iterations of 0.5 s, and the one that compiled was free"
    assert result.seconds == pytest.approx(42.0)
    assert "only 85 iterations in 0.7 minutes" in caplog.text


def test_a_run_of_a_few_iterations_says_so(time: Time, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    how: dict[str, Any] = {"minutes": 1, "progress": False, "out": tmp_path / "r"}
    meta_train(Compiling(time, 0.0, 59.0), Sinusoids(), None, 4, **how)
    (said,) = [record for record in caplog.records if "iterations in 1 minutes" in record.getMessage()]
    assert said.levelno == logging.WARNING
    assert "hardly more than their start" in said.getMessage()
    assert "only 2 iterations" in show_run(tmp_path / "r")["run"]["warning"]
    meta_train(Compiling(time, 0.0, 1.0), Sinusoids(), None, 4, **how | {"minutes": 10, "resume": True})
    assert json.loads((tmp_path / "r/run.json").read_text())["warning"] is None, "it has gone on"


def test_who_asked_for_a_few_iterations_is_told_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    meta_train(LinearMaml(), Sinusoids(), 2, 4, out=tmp_path, progress=False)
    assert caplog.text == ""
    assert few_updates(2, 2, 1.0, "tasks") == few_updates(2, 2, None, "tasks") == few_updates(FEW, None, 1.0, "x") == ""
    assert few_updates(1, 1000, 0.5, "images").startswith("only 1 iteration in 0.5 minutes")


def test_a_sweep_names_the_members_that_made_only_a_few(
    time: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "members" / "seed=0"
    meta_train(Compiling(time, 0.0, 59.0), Sinusoids(), None, 4, out=run, minutes=1, progress=False,
               validation=Sinusoids(seed=1), validate_tasks=2)  # fmt: skip
    grid = Grid("meta-train", (Member("seed=0", 0, {}, 0, {"seed": 0}),), "")
    found = sweep_record.state_of(tmp_path, grid)
    assert found.warnings["seed=0"].startswith("only 2 iterations in 1 minutes")
    assert "- seed=0: only 2 iterations in 1 minutes" in page(found)
    assert clock.FEW > 2
