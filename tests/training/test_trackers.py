"""Runs in Weights & Biases and in MLflow, by the real packages and without a network: what arrives there."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metaft.errors import MetaftError
from metaft.runs.reading import read_rows
from metaft.runs.scalars import scalars
from metaft.tasks.sinusoid import Sinusoids
from metaft.training.callbacks.callback import MEMORY
from metaft.training.loop import TrainResult, meta_train
from tests.runs.fakes import LinearMaml, Waves

BLOCK = 32 * 1024
"""Of a file of records, as LevelDB's log and a run of wandb are."""


def run(out: Path, callback: str, at: int = -1, **more: Any) -> TrainResult:
    """Eight updates and three validations; it fails at one of them if asked to."""

    def fail() -> None:
        raise MetaftError("stop here")

    return meta_train(
        LinearMaml(), Waves(at=at, act=fail), 8, 2, out=out, validation=Sinusoids(seed=1), callbacks=callback,
        progress=False, log_every=2, validate_every=3, validate_tasks=2, checkpoint_every=4, **more,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """Pictures take longer than these runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_episode", "show_episode"):
            patch.setattr(f"metaft.training.loop.{name}", lambda *what: None)
        yield


def logged(out: Path) -> list[tuple[int, dict[str, float]]]:
    """Iteration and numbers of each row of the run's own metrics."""
    rows = read_rows(out / "metrics.jsonl")
    return [
        (row["iteration"], dict(scalars(row["kind"], {n: v for n, v in row.items() if n not in ("kind", "iteration")})))
        for row in rows
    ]


def records(file: Path) -> Iterator[bytes]:
    """The records of a file; a long one stands in pieces."""
    content, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, piece = struct.unpack_from("<IHB", content, at)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if piece in (1, 4):  # all of it, or the last
            yield whole
            whole = b""


def synced(folder: Path) -> dict[str, list[Any]]:
    """What wandb would send, by kind."""
    from wandb.proto import wandb_internal_pb2

    found: dict[str, list[Any]] = {}
    (file,) = folder.glob("*.wandb")
    for content in records(file):
        record = wandb_internal_pb2.Record.FromString(content)
        kind = record.WhichOneof("record_type")
        found.setdefault(kind, []).append(getattr(record, kind))
    return found


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.fixture(scope="module")
def biases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that failed behind its checkpoint and was resumed; what wandb wrote lies in ``wandb`` beside it."""
    wandb = pytest.importorskip("wandb")
    folder, threads = tmp_path_factory.mktemp("biases"), {*threading.enumerate()}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        with pytest.raises(MetaftError, match="stop here"):
            run(folder / "run", "wandb:project=birds,group=seeds", at=7)
        run(folder / "run", "wandb:project=birds,group=seeds", resume=True)
        assert wandb.run is None
        wandb.teardown()
    assert {*threading.enumerate()} == threads
    return folder


def test_weights_and_biases_has_the_run(biases: Path) -> None:
    first, second = (synced(folder) for folder in sorted((biases / "wandb").glob("offline-run-*")))
    rows = [values(history.item) for history in (*first["history"], *second["history"])]
    sent = [(row["iteration"], {n: v for n, v in row.items() if "/" in n}) for row in rows]
    assert [iteration for iteration, _ in sent] == [2, 3, 4, 6, 6, 6, 6, 8, 8]  # two were made again
    assert sent[:3] + sent[5:] == logged(biases / "run")
    (begun,), (ended,) = first["run"][:1], second["exit"]
    assert (begun.project, begun.run_group, begun.display_name) == ("birds", "seeds", "run")
    assert values(begun.config.update)["inner_lr"] == 0.01
    assert (first["exit"][0].exit_code, ended.exit_code) == (1, 0)
    kept = json.loads((biases / "run" / MEMORY).read_text())
    assert first["run"][0].run_id == second["run"][0].run_id == kept["wandb"]
    final = [values(summary.update) for summary in second["summary"]]
    best = json.loads((biases / "run/run.json").read_text())["best_validation_mse"]
    assert any(summary.get("best_validation_mse") == best for summary in final)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Likewise in MLflow's own folder of runs."""
    mlflow = pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        uri = (folder / "mlruns").as_uri()
        with pytest.raises(MetaftError, match="stop here"):
            run(folder / "run", f"mlflow:uri={uri},experiment=birds", at=7)
        client = mlflow.MlflowClient(tracking_uri=uri)
        (known,) = client.search_runs([client.get_experiment_by_name("birds").experiment_id])
        assert known.info.status == "FAILED"
        run(folder / "run", f"mlflow:uri={uri},experiment=birds", resume=True)
        assert mlflow.active_run() is None
        return folder, client


def test_mlflow_has_the_run(tracked: tuple[Path, Any]) -> None:
    folder, client = tracked
    (found,) = client.search_runs([client.get_experiment_by_name("birds").experiment_id])
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.data.params["inner_lr"] == "0.01"
    assert "validation/ci95" in found.data.metrics
    for iteration, numbers in logged(folder / "run"):
        for name, value in numbers.items():
            points = client.get_metric_history(found.info.run_id, name)
            assert value in [point.value for point in points if point.step == iteration]
    record = json.loads((folder / "run/run.json").read_text())
    assert found.data.metrics["best_validation_mse"] == record["best_validation_mse"]


def test_a_server_that_does_not_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(MetaftError) as caught:
        run(tmp_path / "run", f"mlflow:uri={(tmp_path / 'mlruns').as_uri()}")
    assert str(caught.value).startswith("callback 'mlflow' failed in on_start: MlflowException: ")
