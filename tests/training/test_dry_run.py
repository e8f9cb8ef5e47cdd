"""A dry run: what it says is what the run then needs, and it leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from metaft.cli import cli
from metaft.commands.opening import Opening
from metaft.device import device_of_name
from metaft.errors import MetaftError
from metaft.settings.config import RunConfig, validated
from metaft.tasks.sinusoid import Sinusoids
from metaft.training.dry_run import dry_run
from metaft.training.loop import meta_train
from tests.runs.fakes import LinearMaml

MARKS = """
import torch
from metaft.data.images import LabelledImages

def marks(split):
    drawn = torch.arange(8 * 20 * 64, dtype=torch.int64).remainder(251).to(torch.uint8).view(160, 1, 8, 8)
    return LabelledImages(drawn, torch.full((8,), 20), tuple(f"{split}{i}" for i in range(8)))
"""
SMALL = ("--engine", "eager", "--tasks", "3", "--iterations", "2", "--validate-tasks", "2")


def config(**more: Any) -> RunConfig:
    return validated(RunConfig, {"dataset": "sinusoid", "engine": "eager", "tasks": 3, "iterations": 2, **more})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_learner_and_the_random_numbers_stay_as_they_were() -> None:
    learner, state = LinearMaml(noise=0.1), torch.get_rng_state()
    params, before = learner.params, {name: value.clone() for name, value in learner.params.items()}
    found = dry_run(learner, Sinusoids(), None, config())
    assert learner.params is params
    assert all(torch.equal(value, before[name]) for name, value in params.items())
    assert torch.equal(torch.get_rng_state(), state)
    assert found.device == "cpu"


def test_numbers_that_can_be_counted() -> None:
    found = dry_run(LinearMaml(hidden=5), Sinusoids(shots=4, queries=6), None, config(iterations=1000, tasks=7))
    assert found.batch == {"support_x": (7, 4, 1), "support_y": (7, 4, 1), "query_x": (7, 6, 1), "query_y": (7, 6, 1)}
    assert (found.parameters, found.trained) == (5 + 5 + 5 + 1, 16)
    assert found.left == 1000 * found.seconds
    assert found.speed == pytest.approx(7 / found.seconds)


@pytest.mark.parametrize(("limits", "most"), [({"minutes": 2.0}, 120), ({"minutes": 1e-6, "iterations": 10**9}, 6e-5)])
def test_a_run_ends_at_the_nearer_limit(limits: dict[str, Any], most: float) -> None:
    given = {"iterations": None, **limits}
    assert dry_run(LinearMaml(), Sinusoids(), None, config(**given)).left == pytest.approx(most)


@pytest.mark.parametrize(("outer", "average"), [("adam", 0.9), ("sgd:momentum=0.9", 0.0), ("sgd", 0.9)])
def test_a_checkpoint_is_as_large_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outer: str, average: float
) -> None:
    """Both with the weights that are best by validation, and what the optimiser keeps."""
    for name in ("draw_episode", "show_episode"):  # pictures take longer than the run
        monkeypatch.setattr(f"metaft.training.loop.{name}", lambda *what: None)
    settings, learner, val = config(outer=outer, average=average, validate_tasks=2), LinearMaml(), Sinusoids(seed=1)
    said = dry_run(learner, Sinusoids(), val, settings).checkpoint
    meta_train(learner, Sinusoids(), out=tmp_path, validation=val, config=settings, progress=False)
    (folder,) = (tmp_path / "checkpoints").iterdir()
    tensors = [tensor for file in folder.glob("*.safetensors") for tensor in load_file(file).values()]
    assert said == sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_a_callback_that_cannot_be_made_is_said_before_any_update() -> None:
    with pytest.raises(MetaftError, match="there is no module 'nowhere'"):
        dry_run(LinearMaml(), Sinusoids(), None, config(callbacks="nowhere:Mine"))


def test_the_command_writes_nothing(here: Path) -> None:
    done = CliRunner().invoke(cli, ["meta-train", "--dataset", "sinusoid", *SMALL, "--dry-run"])
    assert done.exit_code == 0, done.output
    told = " ".join(done.stdout.split())
    assert "support_x 3×10×1" in told
    assert "1,761, of which 1,761 are trained; 1,761 adapt" in told
    assert "runs/sinusoid-maml, free" in told
    assert list(here.iterdir()) == []


def test_a_folder_that_is_taken_is_said_and_not_touched(here: Path) -> None:
    (here / "full").mkdir()
    (here / "full/mine.txt").write_text("mine")
    done = CliRunner().invoke(cli, ["meta-train", "--dataset", "sinusoid", *SMALL, "--out", "full", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "full, taken: full is not empty and holds no run" in " ".join(done.stdout.split())
    assert [path.name for path in (here / "full").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("command", ["pretrain", "distill"])
def test_a_classifier(here: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    (here / f"marks_to_{command}.py").write_text(MARKS)
    words = ["--dataset", f"marks_to_{command}:marks", "--image-size", "8", "--model", "mlp", "--hidden", "4"]
    words += ["--batch-size", "4", "--queries", "5"]
    monkeypatch.syspath_prepend(here)
    done = CliRunner().invoke(cli, [command, *words, "--iterations", "2", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "query_x 4×1×1×8×8" in " ".join(done.stdout.split())
    assert ("generation 1" in done.stdout) == (command == "distill")
    assert {path.suffix for path in here.iterdir() if path.is_file()} == {".py"}
    assert not (here / "runs").exists()


def test_a_command_without_one_trains_nothing(tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match="metaft meta-train has no --dry-run"):
        _ = Opening(config(), tmp_path, dry_run=True).how


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--resume"], "--dry-run is of a new run"),
        (["--device", "mps"], "no MPS device is available; use --device cpu"),
        (["--device", "tpu"], "device = tpu"),
        (["--scope", "nothing.here"], "scope 'nothing.here' matches no parameter"),
    ],
)
def test_what_the_run_would_refuse_is_refused(here: Path, words: list[str], says: str) -> None:
    if "mps" in words and torch.backends.mps.is_available():
        pytest.skip("there is one")
    done = CliRunner().invoke(cli, ["meta-train", "--dataset", "sinusoid", *SMALL, *words, "--dry-run"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert says in done.stderr


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "mps"])
def test_devices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=there: there)
        if name in ("cuda", "mps") and not there:
            with pytest.raises(MetaftError, match=f"device = '{name}': no {name.upper()} device is available"):
                device_of_name(name)
        else:
            assert device_of_name(name).type == {"auto": "cuda" if there else "cpu"}.get(name, name)
    with pytest.raises(MetaftError, match="unknown device 'gpu'"):
        device_of_name("gpu")
