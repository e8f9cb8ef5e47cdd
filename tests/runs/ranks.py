"""A program for one rank: train in float64, evaluate, keep what it found, and fail where it is told to."""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from metaft.cli import _fail
from metaft.distributed.place import place
from metaft.errors import MetaftError
from metaft.evaluation.evaluate import evaluate
from metaft.inner.rules import SGD
from metaft.learners.maml import MAML
from metaft.tasks.batch import TaskBatch
from metaft.tasks.sinusoid import Sinusoids
from metaft.training import loop
from metaft.training.loop import meta_train
from metaft.training.ranks import after_restart
from tests.runs.fakes import LinearMaml


class Doubles(Sinusoids):
    """Sinusoids in float64."""

    def batch(self, index: int, tasks: int) -> TaskBatch:
        return TaskBatch(*(t.double() for t in super().batch(index, tasks).tensors()))


class Failing(Doubles):
    """They end a process, at its first start, when the given rank draws the given batch."""

    def batch(self, index: int, tasks: int) -> TaskBatch:
        how, rank, at = os.environ["FAIL"].split()
        if place().restarts == 0 and (place().rank, index) == (int(rank), int(at)):
            if how == "raise":
                raise MetaftError("the tasks are gone")
            os.kill(os.getpid(), getattr(signal, how))
        return super().batch(index, tasks)


def learner() -> LinearMaml | MAML:
    if os.environ.get("LEARNER") == "dropout":
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1)).double()
        return MAML(net, SGD(0.01), 2, kind="regression")
    found = LinearMaml()
    found.net.double()
    found.params = {name: p.double() for name, p in found.params.items()}
    return found


def work(out: Path, tasks: int, **settings: Any) -> dict[str, Any]:
    """Train and evaluate; the weights and scores of this rank."""
    trained = learner()
    family = Failing() if "FAIL" in os.environ else Doubles()
    resume, _ = after_restart(place(), out, False, False)
    loop.draw_episode = lambda *args: None  # slower than all the rest
    how: dict[str, Any] = {
        "schedule": "cosine",
        "average": 0.9,
        "clip": 1.0,
        "outer_lr": 0.01,
        "log_every": 5,
        "validate_every": 7,
    }
    how |= {"validate_tasks": 60, "checkpoint_every": 4, "progress": False}
    how |= settings
    meta_train(trained, family, 24, tasks, out=out, validation=Doubles(split="val"), resume=resume, **how)
    result = evaluate(trained, Doubles(split="test"), 120)
    return {**trained.params, "per_task": result.per_task}


def nothing_left() -> None:
    """End the process with another code if threads of the ranks are still there as Python shuts down."""
    beating = any(thread.name == "metaft-beat" for thread in threading.enumerate())
    if beating or torch.distributed.is_initialized():
        print("threads of the ranks outlive the run", file=sys.stderr, flush=True)
        os._exit(70)


if __name__ == "__main__":
    torch.set_num_threads(1)
    atexit.register(nothing_left)  # before the ranks meet, so that it comes after what they leave to the end
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    try:
        found = work(folder / "run", count, **json.loads(os.environ.get("SETTINGS", "{}")))
    except MetaftError as error:
        _fail(str(error), 2)
    except loop.StoppedRun as error:
        _fail(str(error), error.exit_code, mark="")
    save_file({name: t.contiguous() for name, t in found.items()}, folder / f"rank{place().rank}.safetensors")
