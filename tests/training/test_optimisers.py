"""Every outer optimiser against torch's own class, through a checkpoint; and how it is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.optim import Optimizer

import metaft
from metaft.assembly.meta_learner import run_config
from metaft.cli import cli
from metaft.errors import MetaftError
from metaft.settings.config import RunConfig, load_config, to_toml, validated
from metaft.settings.distill import DistillConfig
from metaft.settings.pretrain import PretrainConfig
from metaft.settings.train import TrainSettings
from metaft.tables import OUTER
from metaft.tasks.sinusoid import Sinusoids
from metaft.training.loop import meta_train
from metaft.training.state import TrainState

LEFT_OUT = {
    "Optimizer": "the class they all are of",
    "LBFGS": "asks for the loss again",
    "SparseAdam": "takes sparse gradients alone",
    "Muon": "takes matrices alone",
}
CPU = torch.device("cpu")


def test_the_table_has_all_of_torchs() -> None:
    torchs = {
        name for name, kind in vars(torch.optim).items() if isinstance(kind, type) and issubclass(kind, Optimizer)
    }
    assert {name.lower() for name in torchs - set(LEFT_OUT)} == set(OUTER)


def torchs_own(name: str) -> type[Any]:
    return next(kind for known, kind in vars(torch.optim).items() if isinstance(kind, type) and known.lower() == name)


OPTIONS = {"sgd": "momentum=0.9,nesterov=true", "adam": "beta1=0.5,beta2=0.9,epsilon=1e-3", "adamw": "betas=0.5,0.9"}
THEIRS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "nesterov": True},
    "adam": {"betas": (0.5, 0.9), "eps": 1e-3},
    "adamw": {"betas": (0.5, 0.9)},
}


@pytest.mark.parametrize(("name", "options"), [*((name, False) for name in OUTER), *((name, True) for name in OPTIONS)])
def test_it_is_torchs_through_a_checkpoint(name: str, options: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    start = {"a": torch.randn(3, 2, generator=draw), "b": torch.randn(4, generator=draw)}
    optimiser = OUTER.make(f"{name}:{OPTIONS[name]}" if options else name, lr=0.1, schedule="linear")
    state = TrainState.start(start, 0.0, CPU, optimiser)
    theirs = {n: w.clone().requires_grad_() for n, w in start.items()}
    torchs = torchs_own(name)(list(theirs.values()), lr=0.1, **(THEIRS[name] if options else {}))
    for i in range(6):
        grads = {n: torch.randn(w.shape, generator=draw) for n, w in start.items()}
        state.step({n: g.clone() for n, g in grads.items()}, optimiser.rate(i / 6))
        for group in torchs.param_groups:
            group["lr"] = 0.1 * (1 - i / 6)
        for n, weight in theirs.items():
            weight.grad = grads[n]
        torchs.step()
        if i == 2:
            stored = state.checkpoint()
            state = TrainState.start(start, 0.0, CPU, optimiser)
            state.restore(stored)
    for n, weight in theirs.items():
        torch.testing.assert_close(state.weights[n], weight.detach(), rtol=1e-6, atol=1e-7)


def test_a_checkpoint_of_another_optimiser_is_refused() -> None:
    weights = {"a": torch.ones(3)}
    adam = TrainState.start(weights, 0.0, CPU)
    adam.step({"a": torch.ones(3)}, 0.1)
    for name in ("sgd", "sgd:momentum=0.9", "rmsprop"):
        with pytest.raises(MetaftError, match="optimiser"):
            TrainState.start(weights, 0.0, CPU, OUTER.make(name)).restore(adam.checkpoint())


@pytest.mark.parametrize("kind", [RunConfig, PretrainConfig, DistillConfig, TrainSettings])
def test_rate_and_course_stand_in_one_place(kind: Any) -> None:
    asked = validated(kind, {"outer": "sgd:lr=0.5,schedule=linear,momentum=0.9"})
    assert (asked.outer, asked.outer_lr, asked.schedule) == ("sgd:momentum=0.9", 0.5, "linear")
    assert validated(kind, {"outer": "adadelta"}).outer_lr == 1.0
    assert validated(kind, {}).outer == "adam"
    assert validated(kind, {"outer": "adam:lr=0.01"}).outer_lr == 0.01
    assert validated(kind, {"outer_lr": 0.01, "outer": "sgd"}).outer_lr == 0.01
    assert validated(kind, {"outer": "adam:lr=0.01", "outer_lr": "0.01"}).outer_lr == 0.01
    for wrong, said in {
        "adams": "unknown outer optimiser 'adams'; did you mean 'adam",
        "sgd:mommentum=1": "outer optimiser 'sgd' has no option 'mommentum'; did you mean 'momentum'?",
        "sgd:lr=fast": "outer optimiser 'sgd': lr = fast",
        "adam:lr=0.2": "outer_lr = 0.1: outer = adam:lr=0.2 says 0.2; give one of them",
    }.items():
        with pytest.raises(MetaftError, match=said):
            validated(kind, {"outer": wrong, **({"outer_lr": 0.1} if "0.2" in wrong else {})})


def test_reptile_moves_a_share_of_the_way_as_published() -> None:
    config = validated(RunConfig, {"learner": "reptile"})
    assert (config.outer, config.outer_lr, config.schedule) == ("sgd", 1.0, "linear")
    adam = validated(RunConfig, {"learner": "reptile", "outer": "adam"})
    assert (adam.outer, adam.outer_lr, adam.schedule) == ("adam", 0.001, "constant")
    # Files and commands of before say a rate alone, which was Adam's.
    before = validated(RunConfig, {"learner": "reptile", "outer_lr": 0.002})
    assert (before.outer, before.outer_lr, before.schedule) == ("adam", 0.002, "constant")
    cosine = validated(RunConfig, {"learner": "maml++", "outer": "adam:lr=0.01"})
    assert (cosine.outer_lr, cosine.schedule) == (0.01, "cosine")


def test_a_whole_step_of_reptile_lands_on_the_mean_of_the_ends(tmp_path: Path) -> None:
    family = Sinusoids(seed=3)
    learner = metaft.learners.build("reptile", metaft.models.MLP(1, 1, (5,)), kind="regression", inner_lr=0.02, steps=3)
    start, batch = {n: p.clone() for n, p in learner.params.items()}, family.batch(0, 4)
    ends = {n: start[n] - g for n, g in learner.meta_gradient(batch).grads.items()}
    meta_train(learner, family, 1, 4, out=tmp_path / "r", outer="sgd:lr=1", progress=False)
    torch.testing.assert_close(learner.params, ends)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_rate_rises_from_zero_and_then_runs_its_course(name: str) -> None:
    optimiser = OUTER.make(f"{name}:lr=0.8,schedule=linear,warmup=0.2")
    rates = {0.0: 0.0, 0.05: 0.2, 0.1: 0.4, 0.2: 0.8, 0.6: 0.4, 1.0: 0.0}
    assert {done: pytest.approx(rate) for done, rate in rates.items()} == {d: optimiser.rate(d) for d in rates}
    config = validated(TrainSettings, {"outer": f"{name}:warmup=0.2", "schedule": "cosine"})
    assert (config.warmup, config.schedule) == (0.2, "cosine")
    plain = OUTER.make(f"{name}:lr=0.8,schedule=cosine")
    assert plain.rate(0.0) == 0.8
    with pytest.raises(MetaftError, match="warmup = 1"):
        validated(TrainSettings, {"warmup": 1})


@pytest.mark.parametrize("outer", ["sgd:lr=0.5,schedule=linear,momentum=0.9", "adamw:weight_decay=0.1"])
def test_a_run_goes_on_with_it_to_the_same_end(outer: str, tmp_path: Path) -> None:
    words = "meta-train --dataset sinusoid --engine eager --hidden 5 --tasks 2 --validate-tasks 2 --quiet --workers 1"
    more = ["--iterations", "6", "--checkpoint-every", "3", "--outer", outer]
    for out in ("whole", "parts"):
        done = CliRunner().invoke(cli, [*words.split(), *more, "--out", str(tmp_path / out)])
        assert done.exit_code == 0, done.output
    for later in sorted((tmp_path / "parts/checkpoints").iterdir())[1:]:
        for file in later.iterdir():
            file.unlink()
        later.rmdir()
    done = CliRunner().invoke(cli, ["meta-train", "--resume", "--out", str(tmp_path / "parts"), "--quiet"])
    assert done.exit_code == 0, done.output
    config = run_config(tmp_path / "parts")
    assert config.outer == OUTER.asked(outer).name + {"s": ":momentum=0.9", "a": ":weight_decay=0.1"}[outer[0]]
    (tmp_path / "again.toml").write_text(to_toml(config))
    assert load_config(tmp_path / "again.toml") == config
    ends = [json.loads((tmp_path / out / "run.json").read_text()) for out in ("whole", "parts")]
    assert ends[0]["best_validation_mse"] == ends[1]["best_validation_mse"]
    done = CliRunner().invoke(cli, ["meta-train", "--resume", "--out", str(tmp_path / "parts"), "--outer", "adam"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert "begun with outer = " in done.stderr
