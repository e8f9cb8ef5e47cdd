from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metaft.errors import MetaftError
from metaft.evaluation.validation import validate
from metaft.runs import checkpoint
from metaft.runs.metrics import read_rows
from metaft.tasks.sinusoid import Sinusoids
from metaft.training import loop
from metaft.training.clock import Clock
from metaft.training.loop import meta_train
from metaft.training.stopping import StoppedRun
from tests.runs.fakes import Gradient, LinearMaml, Waves

SETTINGS: dict[str, Any] = {
    "iterations": 24,
    "tasks": 4,
    "schedule": "cosine",
    "average": 0.9,
    "clip": 1.0,
    "outer_lr": 0.01,
    "log_every": 5,
    "validate_every": 7,
    "validate_tasks": 6,
    "checkpoint_every": 4,
    "progress": False,
}
CLOCK = ("seconds", "tasks_per_second")


def run(out: Path, family: Sinusoids | None = None, noise: float = 0.0, **more: Any) -> LinearMaml:
    learner = LinearMaml(noise=noise)
    validation = Sinusoids(seed=1, split="val")
    meta_train(learner, family or Sinusoids(), out=out, validation=validation, **{**SETTINGS, **more})
    return learner


def rows(out: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in read_rows(out / "metrics.jsonl")]


def scalars(out: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if not tag.endswith(CLOCK)
    }


def equal(first: Path, second: Path) -> None:
    a, b = (checkpoint.load_newest(out / "checkpoints") for out in (first, second))
    for part in checkpoint.PARTS:
        one, other = getattr(a, part), getattr(b, part)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), part
    assert rows(first) == rows(second)
    assert scalars(first) == scalars(second)
    for key in ("iteration", "best_score", "best_iteration", "window", "window_loss"):
        assert a.progress[key] == b.progress[key]


def scores_of(seen: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let validations come out so, one after another."""
    left = iter(seen)
    monkeypatch.setattr(loop, "validate", lambda *args: dataclasses.replace(validate(*args), score=next(left)))


def test_it_ends_where_no_validation_gets_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {"validate_every": 3, "patience": 2, "checkpoint_every": 4}
    scores_of([1.0, 0.0, 2.0, 2.0, 1.0, 9.0], monkeypatch)  # a tie is no better one
    run(tmp_path / "whole", **how)
    record = json.loads((tmp_path / "whole/run.json").read_text())
    assert (record["state"], record["iteration"], record["best_iteration"]) == ("finished", 15, 9)
    assert record["ended_early"] == "ended after iteration 15: 2 validations without a better one than at 9"
    scores_of([], monkeypatch)
    run(tmp_path / "whole", resume=True, **how)  # it stays ended
    assert json.loads((tmp_path / "whole/run.json").read_text())["iteration"] == 15

    scores_of([1.5, 3.0], monkeypatch)
    shutil.copytree(tmp_path / "whole", tmp_path / "more")
    run(tmp_path / "more", resume=True, **{**how, "patience": 4, "iterations": 21})  # unless it is given more
    assert json.loads((tmp_path / "more/run.json").read_text())["best_iteration"] == 21
    for at, validations in ((7, 2), (13, 4)):  # a signal between two validations
        out, seen = tmp_path / str(at), [1.0, 0.0, 2.0, 2.0, 1.0, 9.0]
        scores_of(seen[:validations], monkeypatch)
        with pytest.raises(StoppedRun):
            run(out, Waves(at=at, act=lambda: os.kill(os.getpid(), signal.SIGTERM)), **how)
        scores_of(seen[validations:], monkeypatch)
        run(out, resume=True, **how)
        equal(tmp_path / "whole", out)


def test_patience_counts_validations(tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match="patience = 2 counts validations and there is none"):
        meta_train(LinearMaml(), Sinusoids(), 4, 2, out=tmp_path / "r", patience=2, progress=False)
    assert not (tmp_path / "r").exists()


def test_matches_plain_torch(tmp_path: Path) -> None:
    # The same training written out with autograd parameters and torch's own clipping.
    learner, ours = LinearMaml(), LinearMaml()
    family = Sinusoids()
    params = {k: v.clone().requires_grad_() for k, v in learner.params.items()}
    adam = torch.optim.Adam(params.values(), lr=0.01)
    for i in range(10):
        learner.params = {k: p.detach() for k, p in params.items()}
        out = learner.meta_gradient(family.batch(i, 4))
        for name, p in params.items():
            p.grad = out.grads[name].clone()
        torch.nn.utils.clip_grad_norm_(params.values(), 0.5)
        adam.step()
    meta_train(ours, family, 10, 4, out=tmp_path / "r", outer_lr=0.01, clip=0.5, progress=False)
    for name, p in params.items():
        torch.testing.assert_close(ours.params[name], p.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("at", "signum"), [(13, signal.SIGINT), (8, signal.SIGTERM)])
def test_a_stopped_run_resumes_to_the_same_end(tmp_path: Path, at: int, signum: int) -> None:
    run(tmp_path / "whole", noise=0.01)
    with pytest.raises(StoppedRun, match=f"iteration {at + 1}.*resume") as stopped:
        run(tmp_path / "parts", Waves(at=at, act=lambda: os.kill(os.getpid(), signum)), noise=0.01)
    assert stopped.value.exit_code == 128 + signum
    assert json.loads((tmp_path / "parts/run.json").read_text())["state"] == "stopped"
    run(tmp_path / "parts", noise=0.01, resume=True)
    equal(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("at", [2, 11, 19])
def test_a_crashed_run_resumes_to_the_same_end(tmp_path: Path, at: int) -> None:
    def crash() -> None:
        raise RuntimeError("crash")

    whole = run(tmp_path / "whole", noise=0.01)
    with pytest.raises(RuntimeError, match="crash"):
        run(tmp_path / "parts", Waves(at=at, act=crash), noise=0.01)
    # A kill can leave half a line and a half-written checkpoint behind.
    with open(tmp_path / "parts/metrics.jsonl", "ab") as file:
        file.write(b'{"kind": "tra')
    (tmp_path / "parts/checkpoints/.writing-1").mkdir(parents=True)
    parts = run(tmp_path / "parts", noise=0.01, resume=True)
    equal(tmp_path / "whole", tmp_path / "parts")
    assert all(torch.equal(whole.params[k], parts.params[k]) for k in whole.params)


def test_a_killed_process_resumes_to_the_same_end(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys, pathlib\n"
        "from tests.runs.test_loop import Waves, run\n"
        "run(pathlib.Path(sys.argv[1]), Waves(at=14, act=lambda: os.kill(os.getpid(), signal.SIGKILL)))\n"
    )
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "parts")], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    run(tmp_path / "whole")
    run(tmp_path / "parts", resume=True)
    equal(tmp_path / "whole", tmp_path / "parts")


def test_resuming_past_a_damaged_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path / "whole")
    run(tmp_path / "parts")
    newest = sorted((tmp_path / "parts/checkpoints").iterdir())[-1]
    content = bytearray((newest / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "weights.safetensors").write_bytes(content)
    run(tmp_path / "parts", resume=True)
    assert newest.name in caplog.text
    equal(tmp_path / "whole", tmp_path / "parts")


def test_a_longer_run_goes_on(tmp_path: Path) -> None:
    run(tmp_path / "whole", schedule="constant")
    run(tmp_path / "parts", schedule="constant", iterations=14)
    run(tmp_path / "parts", schedule="constant", resume=True)
    a, b = (checkpoint.load_newest(tmp_path / name / "checkpoints") for name in ("whole", "parts"))
    assert all(torch.equal(a.weights[k], b.weights[k]) for k in a.weights)


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "r")
    with pytest.raises(MetaftError, match=r"begun with train outer_lr = 0\.01, not 0\.5"):
        run(tmp_path / "r", resume=True, outer_lr=0.5)


def test_a_used_directory_is_refused_unless_overwritten(tmp_path: Path) -> None:
    run(tmp_path / "r")
    before = rows(tmp_path / "r")
    with pytest.raises(MetaftError, match=r"resume=True .* overwrite=True"):
        run(tmp_path / "r", iterations=3)
    assert rows(tmp_path / "r") == before
    run(tmp_path / "r", iterations=10, overwrite=True)
    assert [row["iteration"] for row in rows(tmp_path / "r")] == [5, 7, 10, 10]


class Failing(LinearMaml):
    """Goes wrong at one call."""

    def __init__(self, at: int, where: str) -> None:
        super().__init__()
        self.calls, self.fails_at, self.where = 0, at, where

    def meta_gradient(self, batch: Any) -> Gradient:
        out = super().meta_gradient(batch)
        self.calls += 1
        if self.calls == self.fails_at:
            if self.where == "loss":
                out.loss, out.losses = out.loss * torch.inf, out.losses * torch.inf
            else:
                out.grads[self.where][..., 0] = torch.nan
        return out


@pytest.mark.parametrize(("where", "said"), [("loss", "query loss is inf"), ("2.weight", "'2.weight'")])
def test_a_loss_or_gradient_that_is_not_finite_stops_the_run(tmp_path: Path, where: str, said: str) -> None:
    with pytest.raises(
        MetaftError, match=f"iteration 7: .*{said}.*outer_lr = 0.001, inner_lr = 0.01.*iteration-0000000006"
    ):
        meta_train(Failing(7, where), Sinusoids(), 20, 4, out=tmp_path / "r", progress=False, checkpoint_every=3)
    stored = checkpoint.load_newest(tmp_path / "r/checkpoints")
    assert stored.progress["iteration"] == 6
    assert all(bool(w.isfinite().all()) for w in stored.weights.values())
    assert json.loads((tmp_path / "r/run.json").read_text())["state"] == "failed"


class Wrong(LinearMaml):
    """A learner of somebody's own that gives other gradients than asked."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def meta_gradient(self, batch: Any) -> Gradient:
        out = super().meta_gradient(batch)
        grads = {} if self.kind == "none" else {**out.grads, "2.bias": torch.zeros(0)}
        return Gradient(out.loss, grads, out.losses)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("none", "learner 'fake' gives no gradients"), ("short", r"of '2.bias' has shape \(0,\), the weight \(1,\)")],
)
def test_gradients_that_do_not_fit_are_refused_by_name(tmp_path: Path, kind: str, said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        meta_train(Wrong(kind), Sinusoids(), 3, 4, out=tmp_path / "r", progress=False)


def test_a_run_that_fails_at_once_promises_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match=r"iteration 2: .*no checkpoint had been made yet"):
        meta_train(Failing(2, "loss"), Sinusoids(), 20, 4, out=tmp_path / "r", progress=False)


def test_best_weights_are_those_of_the_best_validation(tmp_path: Path) -> None:
    learner = run(tmp_path / "r", iterations=28)
    scores = {row["iteration"]: row["mse"] for row in rows(tmp_path / "r") if row["kind"] == "validation"}
    best = min(scores, key=lambda i: (scores[i], i))
    again = run(tmp_path / "again", iterations=28, validate_every=best)
    stored = checkpoint.load_newest(tmp_path / "r/checkpoints")
    assert stored.progress["best_iteration"] == best
    assert all(torch.equal(learner.params[k], stored.best[k]) for k in stored.best)
    assert [r["mse"] for r in rows(tmp_path / "again") if r["iteration"] == best and "mse" in r][-1] == scores[best]
    assert again.params.keys() == learner.params.keys()


def test_a_run_outside_the_main_thread(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def train() -> None:
        try:
            run(tmp_path / "r", iterations=5)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert errors == []


def test_a_time_budget_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(loop, "Clock", lambda seconds: Clock(seconds, lambda: float(next(ticks)), lambda: 0.0))
    learner = LinearMaml()
    result = meta_train(learner, Sinusoids(), None, 4, out=tmp_path / "r", minutes=0.5, progress=False)
    assert result.iterations >= 1
    assert 30 <= result.seconds < 35, "the clock is read a few times an iteration, and goes on by a second each time"


@pytest.mark.usefixtures("picture")
def test_what_lies_in_the_directory(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    run(tmp_path / "r")
    assert torch.equal(torch.get_rng_state(), before)
    record = json.loads((tmp_path / "r/run.json").read_text())
    assert record["state"] == "finished"
    assert record["environment"]["versions"]["torch"] == torch.__version__
    assert (tmp_path / "r/episode.png").read_bytes()[:4] == b"\x89PNG"
    train = [row for row in rows(tmp_path / "r") if row["kind"] == "train"]
    assert [row["iteration"] for row in train] == [5, 10, 15, 20]
    assert all(len(row["mse_per_step"]) == 2 and row["mse_before"] == row["mse_per_step"][0] for row in train)
    tags = scalars(tmp_path / "r")
    assert [step for step, _ in tags["validation/mse"]] == [7, 14, 21, 24]
    assert {"train/loss", "train/mse_before", "train/mse_after", "train/gradient_norm"} <= tags.keys()
