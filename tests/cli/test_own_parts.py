"""Data sets, networks and learners of a user's own, from the command line, without editing the package."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from metaft.assembly.meta_learner import load_run
from metaft.cli import cli
from metaft.errors import MetaftError
from metaft.plugins import is_import_path, load_attribute

MODULE = '''
"""A user's own module."""
import torch
from torch import nn
from metaft import learners, SGD
from metaft.data.images import LabelledImages
from metaft.tasks.batch import TaskBatch

NUMBER = 3

def blobs(split, *, size=8, shared=0):
    """Classes of constant brightness, different ones in each split."""
    first = {"train": 0, "val": 60, "test": 120}[split]
    values = torch.arange(first, first + 40, 5).repeat_interleave(6)
    images = (values[:, None, None, None] + torch.arange(size * size).reshape(1, 1, size, size) % 3).byte()
    return LabelledImages(images, torch.full((8,), 6), tuple(f"{split}-{i}" for i in range(8)))

def leaking(split):
    made = blobs(split)
    return LabelledImages(made.images, made.counts, tuple(f"c{i}" for i in range(8)))

def broken(split):
    raise ValueError("no\\nluck")

class Lines:
    """Straight lines, a task family."""
    kind, outputs, input_shape = "regression", 1, (1,)

    def __init__(self, split, seed=0, shots=2):
        self.split, self.seed, self.shots = split, seed, shots

    def batch(self, index, tasks):
        draw = torch.Generator().manual_seed(self.seed * 1000 + index)
        x = torch.rand(tasks, self.shots + 5, 1, generator=draw)
        y = x * torch.rand(tasks, 1, 1, generator=draw)
        s = self.shots
        return TaskBatch(x[:, :s], y[:, :s], x[:, s:], y[:, s:])

    def describe(self):
        return {"family": "lines", "dataset": "lines", "split": self.split, "seed": self.seed, "shots": self.shots}

class Tiny(nn.Module):
    def __init__(self, outputs, input_shape, scale: float = 1.0):
        super().__init__()
        self.scale = scale
        width = 1
        for axis in input_shape:
            width *= axis
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        return self.scale * self.head(x.flatten(1))

def no_model(outputs, input_shape):
    return "network"

def slow_maml(model, steps: int = 1, kind: str = "classification"):
    """MAML at a rate of the user's own."""
    return learners.MAML(model, SGD(lr=0.05), steps, kind=kind)

class Nearest(learners.NearestNeighbour):
    pass
'''


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.split(".")[0] in ("ownparts", "ownbroken")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "ownparts.py").write_text(MODULE)
    (tmp_path / "ownbroken.py").write_text("import absent_package_of_mine\n")


def metaft(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


QUICK = ["--engine", "eager", "--workers", 1, "--iterations", 3, "--tasks", 2, "--validate-tasks", 4, "--queries", 2]


def test_own_data_network_and_learner(tmp_path: Path) -> None:
    parts = ["--dataset", "ownparts:blobs", "--model", "ownparts:Tiny", "--learner", "ownparts:slow_maml"]
    shape = ["--ways", 3, "--image-size", 8]
    result = metaft("meta-train", *parts, *QUICK, *shape, "--out", "run")
    assert result.exit_code == 0, result.stderr
    config = (tmp_path / "run" / "config.toml").read_text()
    assert all(f'"{path}"' in config for path in ("ownparts:blobs", "ownparts:Tiny", "ownparts:slow_maml"))
    told = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert told["family"]["size"] == 8
    assert told["learner"]["inner_lr"] == 0.05
    result = metaft("evaluate", "run", "--tasks", 5)
    assert result.exit_code == 0, result.stderr
    result = metaft(
        "compare", "ownparts:Nearest:k=1", "run", "--dataset", "ownparts:blobs", *shape,
        "--shots", "1,2", "--queries", 2, "--tasks", 5, "--out", "table",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "Nearest" in result.stdout


def test_all_classes_of_own_data_together(tmp_path: Path) -> None:
    shape = ["--ways", 20, "--image-size", 8, "--queries", 2, "--tasks", 5, "--split", "all"]
    result = metaft("compare", "nearest-neighbour", "--dataset", "ownparts:blobs", *shape, "--out", "table")
    assert result.exit_code == 0, result.stderr
    assert json.loads((tmp_path / "table" / "comparison.json").read_text())["family"]["classes"] == 24
    result = metaft("compare", "nearest-neighbour", "--dataset", "ownparts:Lines", *shape, "--out", "other")
    assert "ownparts:Lines gives tasks, not images: there are no classes to take all of" in result.stderr
    result = metaft("compare", "nearest-neighbour", "--dataset", "ownparts:leaking", *shape, "--out", "other")
    assert "class 'c0' is in both train and val" in result.stderr


def test_an_own_family_of_tasks() -> None:
    parts = ["--dataset", "ownparts:Lines", "--model", "mlp", "--hidden", 4, "--shots", 3, "--inner-lr", 0.1]
    result = metaft("meta-train", *parts, *QUICK, "--out", "run")
    assert result.exit_code == 0, result.stderr
    result = metaft("evaluate", "run", "--tasks", 5)
    assert result.exit_code == 0, result.stderr
    (written,) = Path("run/evaluations").glob("*.json")
    assert json.loads(written.read_text())["results"]["maml"]["metric"] == "mse"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "ownparts:blob"], "module 'ownparts' has no 'blob'; did you mean 'blobs'?"),
        (
            ["--dataset", "ownpart:blobs"],
            "there is no module 'ownpart', neither installed nor in the current directory",
        ),
        (["--dataset", "ownparts.inner:blobs"], "no module 'ownparts.inner'"),
        (["--dataset", "ownbroken:x"], "'ownbroken' cannot be imported: ModuleNotFoundError: No module named 'absent"),
        (["--dataset", "ownparts:NUMBER"], "ownparts:NUMBER is not a function or class"),
        (["--dataset", "ownparts:broken"], "ownparts:broken failed: ValueError: no luck"),
        (["--dataset", "ownparts:Tiny"], "ownparts:Tiny failed: TypeError"),
        (["--dataset", "ownparts:leaking"], "class 'c0' is in both train and val"),
        (["--model", "ownparts:no_model"], "ownparts:no_model made a str; expected a torch.nn.Module"),
        (["--model", "ownparts:NUMBER"], "ownparts:NUMBER is not a network's class"),
        (["--learner", "ownparts:Tiny"], "learner 'ownparts:Tiny' has no network"),
        (["--learner", "ownparts:Lines"], "learner 'ownparts:Lines' has no network"),
        (["--learner", "ownparts:NUMBER"], "ownparts:NUMBER is a int"),
        (["--learner", "ownparts:Nearest"], "ownparts:Nearest cannot be meta-trained: it has no scope_rows"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    given = {"--dataset": "ownparts:blobs", "--model": "ownparts:Tiny", "--image-size": "8"}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    flat = [part for pair in given.items() for part in pair]
    result = metaft("meta-train", *flat, *QUICK, "--out", "run")
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_options_stand_behind_an_import_path(tmp_path: Path) -> None:
    words = ["--dataset", "ownparts:blobs", "--learner", "ownparts:slow_maml:steps=2", "--ways", 3, "--image-size", 8]
    result = metaft("meta-train", *words, "--model", "ownparts:Tiny:scale=0.5", *QUICK, "--out", "run")
    assert result.exit_code == 0, result.stderr
    _, learner = load_run(tmp_path / "run")
    assert (learner.model.module.scale, learner.steps) == (0.5, 2)
    for option, said in {"scale=wide": "'ownparts:Tiny': scale = wide", "scales=1": "has no option 'scales'"}.items():
        result = metaft("meta-train", *words, "--model", f"ownparts:Tiny:{option}", *QUICK, "--out", "other")
        assert (result.exit_code, said in result.stderr) == (2, True), result.output


def test_import_paths_are_told_from_names() -> None:
    assert is_import_path("package.module:Name")
    for name in ("omniglot", "first:2", "nearest-neighbour:k=5", "runs/x", "a.b", ":b", "a:", "a:b:c", "a-b:c"):
        assert not is_import_path(name)
    with pytest.raises(MetaftError, match=r"expected the form mypackage\.mymodule:Name"):
        load_attribute("omniglot")
    assert load_attribute("torch.nn:Linear") is torch.nn.Linear


def test_installed_modules_come_before_those_of_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("loads = None")
    assert load_attribute("json:loads") is json.loads
