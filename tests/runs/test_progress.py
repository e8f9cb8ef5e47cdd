from __future__ import annotations

import io

import pytest
from rich.console import Console

from metaft.training.progress import RunProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("metaft.training.progress.time.perf_counter", lambda: now[0])
    return now


def lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_compilation_does_not_count_for_the_time_left(clock: list[float]) -> None:
    console = Console(file=io.StringIO(), width=200)
    shown = RunProgress(0, 0.0, tasks=10, metric="accuracy", console=console)
    shown.preparing("compiling")
    shown.update(1, 1.0, 0.01, now := 160.0)  # a minute to compile
    for iteration in range(2, 51):
        shown.update(iteration, 1.0, iteration / 100, now := now + 1.0)
    shown.close()
    compiling, first, *_, last = lines(console)
    assert compiling == "compiling …"
    assert "iteration 1 " in first
    assert "left" not in first
    assert "10 tasks/s" in last
    iteration = int(last.split("iteration ")[1].split()[0])
    assert last.endswith(f"0:{100 - iteration:02d} left")


def test_a_resumed_run_starts_its_estimate_anew(clock: list[float]) -> None:
    console = Console(file=io.StringIO(), width=200)
    shown = RunProgress(50, 0.5, tasks=4, metric="mse", console=console)
    for iteration in range(51, 76):
        shown.update(iteration, 1.0, iteration / 100, 100.0 + 2 * (iteration - 50))
    shown.close()
    assert "2 tasks/s" in lines(console)[-1]
    assert lines(console)[-1].endswith("left")


def test_silence(clock: list[float]) -> None:
    console = Console(file=io.StringIO())
    shown = RunProgress(0, 0.0, 1, "mse", shown=False, console=console)
    shown.preparing("compiling")
    shown.update(1, 1.0, 1.0, 1e9)
    shown.say("done")
    shown.close()
    assert lines(console) == []
