"""A new part is one file and one row: each kind is added from a package of its own, and runs from the command line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from metaft.cli import cli
from metaft.tables import CALLBACKS, ESTIMATORS, METRIC, MODELS, OBJECTIVES, OUTER, RULES, TABLES, WORD_OBJECTIVES

PARTS = {
    "rule": (RULES, "Shrinking", "share", "halved:share=0.5", """
from dataclasses import dataclass

from metaft.inner.rules import SGD


@dataclass(frozen=True)
class Shrinking(SGD):
    \"\"\"Gradient descent of a part of the rate.

    Args:
        lr: the rate.
        share: how much of it is taken.
    \"\"\"

    share: float = 1.0

    def step(self, k, params, state, grads, learned):
        return {n: p - self.share * self.lr * grads[n] for n, p in params.items()}, state
"""),
    "objective": (OBJECTIVES, "Decayed", "weight", "decayed:weight=0.1", """
from dataclasses import dataclass


@dataclass(frozen=True)
class Decayed:
    \"\"\"The loss and a pull to zero.

    Args:
        weight: of the pull.
    \"\"\"

    weight: float = 1.0
    uses_start = False

    def __call__(self, loss, params, start, x, y):
        return loss(params, x, y) + self.weight * sum(p.square().sum() for p in params.values())
"""),
    "estimator": (ESTIMATORS, "Damped", "share", "damped:share=0.5", """
from dataclasses import dataclass, replace
from typing import ClassVar

from metaft.outer.exact import Exact


@dataclass(frozen=True)
class Damped(Exact):
    \"\"\"A part of the exact meta-gradient.

    Args:
        share: how much of it is taken.
    \"\"\"

    share: float = 1.0
    name: ClassVar[str] = "damped"

    def __call__(self, problem):
        found = super().__call__(problem)
        return replace(found, grads={n: self.share * g for n, g in found.grads.items()})
"""),
    "outer": (OUTER, "Halved", "share", "halved:share=0.5", """
from dataclasses import dataclass

from metaft.training.optimisers.optimiser import OuterOptimiser


@dataclass(frozen=True, kw_only=True)
class Halved(OuterOptimiser):
    \"\"\"Gradient descent of a part of the rate.

    Args:
        lr: the rate.
        schedule: its course.
        share: how much of it is taken.
    \"\"\"

    share: float = 1.0

    def start(self, weight):
        return {}

    def step(self, weights, grads, kept, lr):
        for weight, gradient in zip(weights, grads):
            weight.sub_(self.share * lr * gradient)
"""),
    "model": (MODELS, "Wide", "width", "wide:width=6", """
import torch


class Wide(torch.nn.Sequential):
    \"\"\"One hidden layer.

    Args:
        width: of it.
    \"\"\"

    def __init__(self, inputs: int, outputs: int, width: int = 8):
        hidden = torch.nn.Linear(inputs, width)
        super().__init__(torch.nn.Flatten(), hidden, torch.nn.ReLU(), torch.nn.Linear(width, outputs))

    @classmethod
    def fitting(cls, outputs, input_shape, **options):
        return cls(torch.Size(input_shape).numel(), outputs, **options)
"""),
    "learner": (METRIC, "sharpened", "temperature", "sharpened:temperature=0.5", """
from metaft.learners.metric.protonet import protonet


def sharpened(model, *, temperature: float = 1.0, kind: str = "classification"):
    \"\"\"A prototypical network.

    Args:
        model: any network.
        temperature: above 0.
        kind: of the tasks.
    \"\"\"
    assert temperature == 0.5
    return protonet(model, kind=kind)
"""),
}  # fmt: skip
ROOT = Path(__file__).parents[2]
QUICK = ("--iterations", "2", "--tasks", "2", "--validate-tasks", "2", "--queries", "2", "--engine", "eager", "--quiet")


@pytest.mark.parametrize("kind", PARTS)
def test_a_part_of_ones_own(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, attribute, option, asked, code = PARTS[kind]
    module = f"one_{kind}_file"
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    name = asked.partition(":")[0]
    monkeypatch.setitem(table.rows, name, f"{module}:{attribute}")
    run = lambda *words: CliRunner().invoke(cli, list(words))
    words = ["--model", "mlp", "--hidden", "4"] if kind != "model" else []
    done = run("meta-train", f"--{kind}", asked, *words, "--image-size", "16", *QUICK, "--out", "run")
    assert done.exit_code == 0, done.output
    assert f"{asked}" in (tmp_path / "run/config.toml").read_text()
    scored = run("evaluate", "run", "--tasks", "2")
    assert scored.exit_code == 0, scored.output
    assert option in run("parts", kind, name).stdout
    wrong = run("meta-train", f"--{kind}", f"{name}:{option}x=1", *words, *QUICK, "--out", "wrong")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (2, 1), wrong.output
    assert f"did you mean {option!r}" in wrong.stderr


def test_an_objective_on_words_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one_words_file.py").write_text("""
from dataclasses import dataclass

from metaft.language.masked import Masked


@dataclass(frozen=True, kw_only=True)
class Hidden(Masked):
    \"\"\"More words are hidden.

    Args:
        times: as many.
    \"\"\"

    times: int = 2

    def asked(self, corpus, spans, length, draw):
        return Masked(share=self.times * self.share).asked(corpus, spans, length, draw)
""")
    (tmp_path / "letters.txt").write_text("\n".join(["Nobody spoke of the storm."] * 60))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(WORD_OBJECTIVES.rows, "hidden", "one_words_file:Hidden")
    small = ["--dataset", "letters.txt", "--tokenizer", "wordpiece:size=60", "--length", "12", "--batch-size", "2"]
    small += [
        "--iterations",
        "2",
        "--validate-tasks",
        "2",
        "--model",
        "transformer:layers=1,width=8,heads=2",
        "--quiet",
    ]
    run = lambda *words: CliRunner().invoke(cli, ["pretrain", *small, *words])
    done = run("--objective", "hidden:times=3", "--out", "run")
    assert done.exit_code == 0, done.output
    assert "hidden:times=3" in (tmp_path / "run/config.toml").read_text()
    assert "times" in CliRunner().invoke(cli, ["parts", "words", "hidden"]).stdout
    wrong = run("--objective", "hidden:timesx=3", "--out", "wrong")
    assert (wrong.exit_code, "did you mean 'times'" in wrong.stderr) == (2, True), wrong.output


def test_a_callback_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one_callback_file.py").write_text("""
from dataclasses import dataclass

from metaft.training.callbacks import Stop


@dataclass
class Enough:
    \"\"\"Ends a run.

    Args:
        after: so many updates.
    \"\"\"

    after: int = 10

    def on_update(self, run, iteration, values):
        return Stop("enough") if iteration >= self.after else None
""")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(CALLBACKS.rows, "enough", "one_callback_file:Enough")
    words = ["--model", "mlp", "--hidden", "4", "--image-size", "16", *QUICK, "--log-every", "1"]
    run = lambda *more: CliRunner().invoke(cli, ["meta-train", *words, *more])
    done = run("--callbacks", "csv+enough:after=1", "--out", "run")
    assert done.exit_code == 0, done.output
    assert "csv+enough:after=1" in (tmp_path / "run/config.toml").read_text()
    assert (tmp_path / "run/metrics.csv").read_text().count("\ntrain,") == 1
    assert "after" in CliRunner().invoke(cli, ["parts", "callback", "enough"]).stdout
    wrong = run("--callbacks", "enough:afterx=3", "--out", "wrong")
    assert (wrong.exit_code, "did you mean 'after'" in wrong.stderr) == (2, True), wrong.output


def test_every_kind_of_part_is_tried() -> None:
    # Heads are options of feature-extraction; an addition comes with its learner; words and callbacks have a test of
    # their own, and tuning, calibrations and choices one beside theirs.
    assert {*TABLES} == {*PARTS, "head", "addition", "words", "callback", "tuning", "calibration", "choice", "backbone"}


TEXT_SET = """
from metaft.data.texts.division import by_examples
from metaft.data.texts.labelled_texts import LabelledTexts
from metaft.data.texts.reading import place_of, text_lines


def load(split, *, root=None, kind: str = "all"):
    \"\"\"Load the words of one split.\"\"\"
    assert kind == "short"
    files = {name: place_of("words", root) / f"words/{name}.txt" for name in ("animals", "colours")}
    return by_examples(LabelledTexts.of({name: text_lines(file) for name, file in files.items()}), split)
"""
TEXT_ROW = """
import sys

from click.testing import CliRunner

from metaft.data.texts.table import TEXTS, TextSet

TEXTS["words"] = TextSet("words", "a test", "60 words", "none", "one_text_set:load", ("words/animals.txt",), ways=2)
from metaft.cli import cli

for words in sys.argv[1:]:
    done = CliRunner().invoke(cli, words)
    print(done.output)
    if done.exit_code:
        raise SystemExit(done.exit_code)
"""


def test_a_data_set_of_texts_of_ones_own(tmp_path: Path) -> None:
    """Its row is there before anything is imported, as if it stood in the table; so in a process of its own."""
    (tmp_path / "one_text_set.py").write_text(TEXT_SET)
    (tmp_path / "program.py").write_text(TEXT_ROW)
    (tmp_path / "data/words").mkdir(parents=True)
    for name in ("animals", "colours"):
        (tmp_path / f"data/words/{name}.txt").write_text("\n".join(f"{name} {i}" for i in range(40)))
    words = ["--dataset", "words:kind=short", "--model", "transformer:layers=1,width=8,heads=2", "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "COLUMNS": "100"}
    commands = ["meta-train", *words, *QUICK, "--out", "run"], ["evaluate", "run", "--tasks", "2"], ["data"]
    done = subprocess.run(
        [sys.executable, "program.py", *map(shlex.join, commands)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "data/words" in done.stdout
    config = (tmp_path / "run/config.toml").read_text()
    assert 'model = "transformer:' in config
    assert "\nways = 2\n" in config
