"""Evaluate a run directory: its learner, on test tasks, into JSON and a plot."""

from __future__ import annotations

import json
import shlex
import sys
import zlib
from pathlib import Path
from typing import Any

import torch

from metaft.assembly.meta_learner import load_run, require_no_idle_steps, run_config
from metaft.assembly.tasks import build_family
from metaft.assembly.unseen import require_unseen
from metaft.assembly.words import require_words_of
from metaft.commands.transfer import evaluation_config
from metaft.data.splits import ALL
from metaft.device import device_of_name
from metaft.distributed.place import place
from metaft.errors import MetaftError, nearest
from metaft.evaluation import plots
from metaft.evaluation.evaluate import Progress, evaluate, evaluate_batches
from metaft.evaluation.lake import read_runs
from metaft.evaluation.report import write_result
from metaft.evaluation.result import Result
from metaft.files import require_place
from metaft.learners import ANY_WAYS
from metaft.settings.config import RunConfig
from metaft.zoo import is_entry, run_path

WEIGHTS, SPLITS, PROTOCOLS = ("best", "last"), ("train", "val", "test", ALL), ("episodes", "lake")


def evaluate_run(
    path: str | Path,
    *,
    split: str = "test",
    weights: str = "best",
    protocol: str = "episodes",
    runs: str | Path | None = None,
    json_file: str | Path | None = None,
    plot_file: str | Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    **overrides: Any,
) -> tuple[Result, Path, Path]:
    """Score a run's learner.

    Args:
        path: the run directory, or ``zoo:NAME``.
        split: whose classes to draw tasks from; "all" is those of all splits, of a data set that the run has not seen.
        weights: "best" or "last".
        protocol: "episodes", or "lake" for the benchmark of Lake et al. (20 runs of 20-way 1-shot).
        runs: the benchmark's folder or zip.
        json_file: where to write the result; by default in the run directory, of ``zoo:NAME`` in ``evaluations/NAME``.
        plot_file: where to draw it; by default beside.
        progress: called with tasks done and tasks in all.
        device: where to compute, "auto", "cpu", "cuda" or "mps"; the CPU if None.
        overrides: settings that differ from the run's; None means as in the run.

    Returns:
        The result, and where it was written and drawn.

    Raises:
        MetaftError: for unknown names, bad settings, or whatever ``load_run`` refuses.
    """
    asked = {"split": (split, SPLITS), "weights": (weights, WEIGHTS), "protocol": (protocol, PROTOCOLS)}
    for name, (value, known) in asked.items():
        if value not in known:
            raise MetaftError(f"unknown {name} {value!r}{nearest(value, known)}")
    if (runs is not None) != (protocol == "lake"):
        raise MetaftError("--protocol lake and --runs PATH (the folder or zip with run01 … run20) go together")
    require_place("--json", json_file)
    require_place("--plot", plot_file)
    of_package, path = is_entry(path), Path(run_path(path))
    home = Path("evaluations") / path.name if of_package else path / "evaluations"
    place_of_work, own = device_of_name(device or "cpu"), run_config(path)
    config = evaluation_config(own, overrides)
    require_no_idle_steps(own, overrides.get("test_steps"))
    if runs is not None:
        result, what = _lake(path, weights, config, runs, progress, place_of_work)
    else:
        result, what = _episodes(path, weights, config, split, progress, place_of_work)
    stem = home / what
    json_path = Path(json_file or stem.with_name(f"{what}.json"))
    plot_path = Path(plot_file or stem.with_name(f"{what}.png"))
    if place().first:
        name, command = str(result.learner["name"]), shlex.join(["metaft", *sys.argv[1:]])
        extra = {"run": Path(path).resolve().name, "weights": weights, "split": split}
        write_result(json_path, {name: result}, command, [config.seed], extra)
        plots.save(plots.accuracy_per_step({name: result}), plot_path)
    return result, json_path, plot_path


def _episodes(
    path: str | Path, weights: str, config: RunConfig, split: str, progress: Progress | None, device: torch.device
) -> tuple[Result, str]:
    family = build_family(config, split, config.seed)
    require_words_of(path, family)
    if split in ("test", ALL):
        require_unseen(path, config, family)
    _, learner = load_run(path, weights, family, batch_norm=config.batch_norm)
    learner.params = {name: value.to(device) for name, value in learner.params.items()}
    result = evaluate(learner, family, config.test_tasks, steps=config.test_steps, progress=progress)
    return result, _file_name(result, weights)


def _file_name(result: Result, weights: str) -> str:
    """What an evaluation is called: equal ones alike, different ones apart, whatever it is that differs."""
    family = result.family
    ways = f"{family['ways']}way-" if family.get("ways") else ""
    steps = len(result.steps) - 1
    parts = [
        str(family.get("dataset", "tasks")).replace(":", "."),
        family.get("scheme"),
        "upright" if family.get("rotations") is False else None,
        family.get("split"),
        f"{ways}{family.get('shots', '')}shot",
        result.mode,
        f"{steps}steps" if steps else None,
        f"{result.tasks}tasks",
    ]
    settings = json.dumps([family, result.learner, steps, result.tasks, weights], sort_keys=True, default=str)
    return "-".join([*(str(part) for part in parts if part), f"{zlib.crc32(settings.encode()):08x}"])


def _lake(
    path: str | Path, weights: str, config: RunConfig, runs: str | Path, progress: Progress | None, device: torch.device
) -> tuple[Result, str]:
    batch = read_runs(runs, config.image_size)
    ways = int(batch.support_y.max()) + 1
    if config.ways != ways and config.method not in ANY_WAYS:
        raise MetaftError(f"the benchmark is {ways}-way, the run {config.ways}-way; train one with --ways {ways}")
    _, learner = load_run(path, weights, batch_norm=config.batch_norm)
    learner.params = {name: value.to(device) for name, value in learner.params.items()}
    family = {"family": "lake", "dataset": "omniglot", "split": "one-shot runs", "ways": ways, "shots": 1}
    pieces = [batch[i : i + 5] for i in range(0, batch.tasks, 5)]
    result = evaluate_batches(learner, pieces, batch.tasks, family=family, steps=config.test_steps, progress=progress)
    return result, f"lake-{result.mode}"
