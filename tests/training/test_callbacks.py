"""Callbacks: when they are called, what stops a run, what is refused, and what resuming tells them."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from metaft.distributed.world import World
from metaft.errors import MetaftError
from metaft.parts import load
from metaft.runs.reading import read_rows
from metaft.settings.config import RunConfig, load_config, to_toml, validated
from metaft.tables import CALLBACKS
from metaft.tasks.sinusoid import Sinusoids
from metaft.training.callbacks import RunView, Stop
from metaft.training.callbacks.callback import MEMORY, METHODS
from metaft.training.callbacks.callbacks import Callbacks
from metaft.training.loop import meta_train
from tests.distributed.threads import on_ranks
from tests.runs.fakes import LinearMaml, Waves

HOW: dict[str, Any] = {"log_every": 2, "validate_every": 3, "validate_tasks": 2, "checkpoint_every": 4}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than these runs."""
    for name in ("draw_episode", "show_episode"):
        monkeypatch.setattr(f"metaft.training.loop.{name}", lambda *what: None)


class Told:
    """Notes all that it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def on_start(self, run: RunView) -> None:
        self.said.append(("start", run.iteration))

    def on_update(self, run: RunView, iteration: int, values: dict[str, Any]) -> Any:
        self.said.append(("update", iteration, values))

    def on_validation(self, run: RunView, iteration: int, values: dict[str, Any]) -> Any:
        self.said.append(("validation", iteration, values))

    def on_checkpoint(self, run: RunView, iteration: int, path: Path) -> Any:
        assert path.is_dir()
        self.said.append(("checkpoint", iteration, path.name))

    def on_end(self, run: RunView, result: Any) -> None:
        self.said.append(("end", result))


class Ends:
    """Ends the run in one of its methods."""

    def __init__(self, method: str, found: object) -> None:
        setattr(self, method, lambda *what: found)


class Fails:
    """Fails in one of its methods."""

    def __init__(self, method: str, error: Exception | None = None) -> None:
        def fail(*what: Any) -> None:
            raise error or ValueError("no\nsuch thing")

        setattr(self, method, fail)


def run(out: Path, *callbacks: object, iterations: int = 6, family: Any = None, **more: Any) -> Any:
    return meta_train(
        LinearMaml(), family or Sinusoids(), iterations, 2, out=out, validation=Sinusoids(seed=1), callbacks=callbacks,
        progress=False, **HOW | more,
    )  # fmt: skip


def record(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "run.json").read_text()))


def test_they_are_told_of_all_that_a_run_does(tmp_path: Path) -> None:
    told = Told()
    result = run(tmp_path, told)
    kinds = [entry[:2] for entry in told.said[:-1]]
    assert kinds == [
        ("start", 0), ("update", 2), ("validation", 3), ("update", 4), ("checkpoint", 4), ("update", 6),
        ("validation", 6), ("checkpoint", 6),
    ]  # fmt: skip
    assert told.said[-1] == ("end", result)
    rows = read_rows(tmp_path / "metrics.jsonl")
    names = {"train": "update", "validation": "validation"}
    logged = [(names[row.pop("kind")], row.pop("iteration"), row) for row in rows]
    assert [entry for entry in told.said if entry[0] in names.values()] == logged


def test_what_one_does_to_the_values_no_other_sees(tmp_path: Path) -> None:
    class Spoils:
        def on_update(self, run: RunView, iteration: int, values: dict[str, Any]) -> None:
            values.clear()

    told = Told()
    run(tmp_path, Spoils(), told)
    assert all("loss" in entry[2] for entry in told.said if entry[0] == "update")


def test_it_sees_the_run(tmp_path: Path) -> None:
    class Looks:
        def on_start(self, run: RunView) -> None:
            self.run = run

    looks = Looks()
    run(tmp_path, looks, seed=3)
    assert (looks.run.path, looks.run.metric, looks.run.settings["seed"]) == (tmp_path, "mse", 3)
    assert looks.run.learner.name == "fake"


@pytest.mark.parametrize(("method", "ends"), [("on_update", 2), ("on_validation", 3), ("on_checkpoint", 4)])
def test_one_may_end_the_run(tmp_path: Path, method: str, ends: int) -> None:
    told = Told()
    result = run(tmp_path, Ends(method, Stop("enough")), told)
    assert result.iterations == ends
    found = record(tmp_path)
    assert (found["state"], found["iteration"]) == ("finished", ends)
    assert found["ended_early"] == f"ended after iteration {ends} by callback 'Ends': enough"
    assert told.said[-1] == ("end", result)
    assert (tmp_path / f"checkpoints/iteration-{ends:010d}").is_dir()
    run(tmp_path, resume=True)  # and it goes on without that callback
    assert record(tmp_path)["iteration"] == 6


@pytest.mark.parametrize(
    ("method", "where", "kept"),
    [
        ("on_start", "on_start", "no checkpoint had been made yet"),
        ("on_update", "on_update at iteration 2", "no checkpoint had been made yet"),
        ("on_validation", "on_validation at iteration 3", "no checkpoint had been made yet"),
        ("on_checkpoint", "on_checkpoint at iteration 4", "the last checkpoint, iteration-0000000004, is kept"),
    ],
)
def test_one_that_fails_is_named_and_the_run_can_go_on(tmp_path: Path, method: str, where: str, kept: str) -> None:
    told = Told()
    with pytest.raises(MetaftError) as caught:
        run(tmp_path, told, Fails(method))
    assert str(caught.value) == f"callback 'Fails' failed in {where}: ValueError: no; {kept}"
    assert record(tmp_path)["state"] == "failed"
    assert record(tmp_path)["reason"] == str(caught.value)
    assert told.said[-1] == ("end", None)
    if method == "on_checkpoint":
        again = Told()
        run(tmp_path, again, resume=True)
        assert again.said[0] == ("start", 4)
        assert record(tmp_path)["state"] == "finished"


def test_one_that_fails_at_the_end_leaves_a_finished_run(tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match="'Fails' failed in on_end: OSError: the server is gone; the last"):
        run(tmp_path, Fails("on_end", OSError("the server is gone")))
    assert record(tmp_path)["state"] == "finished"


def test_the_first_error_is_the_one_that_is_raised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def overflow() -> None:
        raise MetaftError("no such task")

    with caplog.at_level(logging.WARNING), pytest.raises(MetaftError, match="no such task"):
        run(tmp_path, Fails("on_end"), family=Waves(at=3, act=overflow))
    assert "callback 'Fails' failed in on_end" in caplog.text


@pytest.mark.parametrize(
    ("callback", "says"),
    [
        (object(), "callback 'object' has no method that a run would call; known: on_start, on_update, on_validation"),
        (type("Near", (), {"on_updates": print})(), "it has 'on_updates'; did you mean 'on_update'?"),
        (Told, "callback 'Told' is a class; give an object of it: Told()"),
        ("cvs", "unknown callback 'cvs'; did you mean 'csv'?"),
        ("csv+wandb:projekt=a", "callback 'wandb' has no option 'projekt'; did you mean 'project'?"),
        (Ends("on_start", Stop("now")), "callback 'Ends': on_start returned Stop; expected nothing"),
        (Ends("on_update", True), "callback 'Ends': on_update returned bool; expected nothing or a Stop"),
    ],
)
def test_what_is_refused(tmp_path: Path, callback: object, says: str) -> None:
    with pytest.raises(MetaftError) as caught:
        run(tmp_path / "run", callback)
    assert says in str(caught.value)
    if not isinstance(callback, Ends):
        assert not (tmp_path / "run").exists()


def test_of_several_ranks_the_first_alone_calls_them_and_all_stop(tmp_path: Path) -> None:
    told = [Told(), Told()]

    def job(world: World) -> list[str]:
        given = [told[world.place.rank], Ends("on_validation", Stop("enough"))]
        callbacks = Callbacks(given, world)
        callbacks.start(RunView(tmp_path, 0, {}, "mse", LinearMaml()))
        callbacks.update(2, {"loss": 1.0})
        before = callbacks.stopped
        callbacks.validation(3, {"loss": 1.0})
        callbacks.end(None)
        return [before, callbacks.stopped]

    assert on_ranks(2, job) == 2 * [["", "ended after iteration 3 by callback 'Ends': enough"]]
    assert [entry[0] for entry in told[0].said] == ["start", "update", "validation", "end"]
    assert told[1].said == []


OWN = """
from metaft.training.callbacks import Stop


class Once:
    def __init__(self, after: int = 1):
        self.after = after

    def on_update(self, run, iteration, values):
        return Stop(f"{self.after} seen") if iteration >= self.after else None


nothing = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_callbacks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_one_of_the_users_own_by_import_path(own: Path) -> None:
    assert run(own / "run", "csv+own_callbacks:Once:after=4").iterations == 4
    assert (own / "run/metrics.csv").exists()
    with pytest.raises(MetaftError, match=r"callback 'own_callbacks:Once' has no option 'before'"):
        run(own / "wrong", "own_callbacks:Once:before=4")
    with pytest.raises(MetaftError, match="own_callbacks:nothing is a int; a callback's class"):
        run(own / "wrong", "own_callbacks:nothing")


def test_code_that_only_a_file_names_is_not_run(own: Path) -> None:
    """Also behind another callback: a file may come from a stranger."""
    (own / "their.toml").write_text('callbacks = "csv+own_callbacks:Once"\ndataset = "sinusoid"\n')
    config = load_config(own / "their.toml")
    with pytest.raises(MetaftError, match="names code that would be imported and run, own_callbacks:Once"):
        meta_train(LinearMaml(), Sinusoids(), out=own / "run", config=config)
    load_config(own / "their.toml", {"callbacks": "csv+own_callbacks:Once"})  # the user typed it too
    small = config.model_copy(update={"iterations": 2, "tasks": 2, "log_every": 1, "engine": "eager"})
    assert meta_train(LinearMaml(), Sinusoids(), out=own / "run", config=small, progress=False).iterations == 1


def test_settings_keep_them() -> None:
    config = validated(RunConfig, {"callbacks": "csv+wandb:project=birds"})
    assert 'callbacks = "csv+wandb:project=birds"' in to_toml(config)
    with pytest.raises(MetaftError, match="unknown callback 'wandv'; did you mean 'wandb'"):
        validated(RunConfig, {"callbacks": "wandv"})


def table(out: Path) -> list[dict[str, str]]:
    with open(out / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def heads(out: Path) -> str:
    return (out / "metrics.csv").read_text().partition("\n")[0]


def test_the_table_has_the_rows_of_the_metrics(tmp_path: Path) -> None:
    run(tmp_path, "csv")
    rows, logged = table(tmp_path), read_rows(tmp_path / "metrics.jsonl")
    assert [(row["kind"], int(row["iteration"])) for row in rows] == [(r["kind"], r["iteration"]) for r in logged]
    for row, other in zip(rows, logged, strict=True):
        assert float(row["loss"]) == other["loss"]
        if other["kind"] == "train":
            assert [float(row[f"mse_per_step_{i}"]) for i in (0, 1)] == other["mse_per_step"]
            assert row["ci95"] == ""
        else:
            assert row["best"] == str(other["best"]).lower()


def test_a_resumed_run_has_the_same_table(tmp_path: Path) -> None:
    """Stopped by a failure behind its checkpoint: rows that are made again are there once, columns stay."""

    def act() -> None:
        raise MetaftError("stop here")

    run(tmp_path / "whole", "csv", iterations=9)
    with pytest.raises(MetaftError, match="stop here"):
        run(tmp_path / "parts", "csv", iterations=9, family=Waves(at=6, act=act))
    assert len(table(tmp_path / "parts")) == 5
    before = heads(tmp_path / "parts")
    run(tmp_path / "parts", "csv", iterations=9, resume=True)
    assert heads(tmp_path / "parts") == heads(tmp_path / "whole") == before
    same = lambda out: [(row["kind"], row["iteration"], row["loss"]) for row in table(out)]
    assert same(tmp_path / "parts") == same(tmp_path / "whole")


def test_one_that_is_asked_for_when_resuming_has_the_whole_table(tmp_path: Path) -> None:
    run(tmp_path, iterations=4)
    run(tmp_path, "csv", iterations=6, resume=True)
    assert [row["iteration"] for row in table(tmp_path)] == ["2", "3", "4", "4", "6", "6"]


def test_overwriting_removes_what_they_wrote(tmp_path: Path) -> None:
    run(tmp_path, "csv")
    (tmp_path / MEMORY).write_text("{}")
    run(tmp_path, overwrite=True)
    assert not (tmp_path / "metrics.csv").exists()
    assert not (tmp_path / MEMORY).exists()


def test_what_is_kept_for_the_next_process(tmp_path: Path) -> None:
    view = RunView(tmp_path, 0, {}, "mse", LinearMaml())
    assert view.recall("wandb") is None
    view.remember("wandb", "abc")
    view.remember("mlflow", "def")
    assert (view.recall("wandb"), view.recall("mlflow")) == ("abc", "def")
    (tmp_path / MEMORY).write_text('{"wandb": ["no text"]}')
    assert view.recall("wandb") is None


@pytest.mark.parametrize("name", CALLBACKS)
def test_every_one_of_the_table_would_be_called(name: str) -> None:
    """Its file is imported, and listed, without the package that it needs."""
    made = load(CALLBACKS.rows[name])
    assert {*METHODS} & {*dir(made)}
    assert CALLBACKS.summary(name)


@pytest.mark.parametrize(("name", "wheel"), [("wandb", "wandb"), ("mlflow", "mlflow-skinny")])
def test_an_absent_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, wheel: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MetaftError) as caught:
        run(tmp_path / "run", name)
    assert str(caught.value) == f"callback {name!r} needs a package: pip install {wheel}"
    assert not (tmp_path / "run").exists()
