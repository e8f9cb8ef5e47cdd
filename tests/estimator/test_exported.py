"""``metaft export --format onnx | torch-export``: the graphs answer as metaft does, in their own runtimes."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

import metaft
from metaft.cli import cli
from metaft.commands.export_predictor import CARD
from metaft.commands.predict.predict import fitted
from tests.estimator.runs import drawings, trained

RIDGE = "feature-extraction:backbone=means,head=ridge"
FORMATS = ("onnx", "torch-export")
SMALL = ("--dataset", "glyphs", "--ways", "3", "--model", "mlp", "--hidden", "8", "--queries", "2", "--engine", "eager",
         "--tasks", "2", "--iterations", "2", "--validate-tasks", "2", "--quiet")  # fmt: skip


def export(*words: object) -> Any:
    return CliRunner().invoke(cli, ["export", *map(str, words)])


def answers(folder: Path, given: Sequence[Tensor]) -> list[Tensor]:
    """What the graph in a folder says, in its own runtime."""
    card = json.loads((folder / CARD).read_text())
    if card["format"] == "torch-export":
        return list(torch.export.load(io.BytesIO((folder / card["file"]).read_bytes())).module()(*given))
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(str(folder / card["file"]), providers=["CPUExecutionProvider"])
    feed = {one.name: value.numpy() for one, value in zip(session.get_inputs(), given, strict=True)}
    return [torch.from_numpy(np.asarray(found)) for found in session.run(None, feed)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    for name, learner in (("start", "maml"), ("means", "protonet")):
        done = CliRunner().invoke(cli, ["meta-train", "--learner", learner, "--out", str(folder / name), *SMALL])
        assert done.exit_code == 0, done.output
    drawings(folder / "support")
    return folder


@pytest.mark.share(3)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("learner", ["start", "means", "class-means:backbone=means", "nearest-neighbour", RIDGE])
def test_an_adapted_predictor_answers_as_here(
    learner: str, form: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    done = export(learner, "--format", form, "--support", "support", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    made = fitted(learner, "support")[0]
    own, x, y = made.task()
    card = json.loads((tmp_path / "out" / CARD).read_text())
    assert card["classes"] == made.classes_.tolist()
    for count in (1, 4, 7):  # any number of queries
        queries = torch.rand(count, *x.shape[1:], generator=torch.Generator().manual_seed(count))
        expected = own.adapt(x[None], y[None])(queries[None])[0][:, : len(card["classes"])]
        scores, probabilities = answers(tmp_path / "out", [queries])
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(probabilities, expected.softmax(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.share(3)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("learner", ["means", "class-means:backbone=means", RIDGE])
def test_fit_and_predict_in_one_graph(
    learner: str, form: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (learner, form) == (RIDGE, "onnx"):
        pytest.skip("ONNX has no QR decomposition; that is refused, below")
    monkeypatch.chdir(runs)
    done = export(learner, "--format", form, "--ways", 3, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "out" / CARD).read_text())
    shape = card["inputs"]["queries"]["shape"]
    assert (shape[0], card["inputs"]["support"]["shape"][0]) == ("queries", "examples")  # any number of both
    own = metaft.load(learner)
    draw = torch.Generator().manual_seed(0)
    support, queries = (torch.rand(count, *shape[1:], generator=draw) for count in (6, 4))
    labels = torch.arange(6) % 3
    learned = own.fit(drawn_files(runs), drawn_labels(runs)).task()[0]
    expected = learned.adapt(support[None], labels[None])(queries[None])[0][:, :3]
    found = answers(tmp_path / "out", [support, labels, queries])
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-4)


TEXTS = {"greeting": ["hello there", "good morning to you"], "weather": ["will it rain tomorrow", "is it cold"]}


@pytest.fixture(scope="module")
def of_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on texts whose network packs its words, and a support set."""
    folder = tmp_path_factory.mktemp("texts")
    trained(
        "meta-train", folder / "words", "--learner", "protonet", "--dataset", "intents", "--tokenizer",
        "wordpiece:size=512", "--ways", "2", "--model", "transformer:layers=1,width=16,heads=2",
    )  # fmt: skip
    rows = [f"{text},{name}" for name, texts in TEXTS.items() for text in texts]
    (folder / "support.csv").write_text("\n".join(["text,label", *rows]))
    return folder


@pytest.mark.share(3)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("whole", [False, True])
def test_texts_answer_as_here(whole: bool, form: str, of_texts: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(of_texts)
    given = ("--ways", 2) if whole else ("--support", "support.csv")
    done = export("words", "--format", form, *given, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    own, x, y = fitted("words", "support.csv")[0].task()
    queries = x.flip(0)[:3].clone()
    queries[0] = torch.arange(1, x.shape[1] + 1)  # a longer text; of the others there is padding to leave out
    expected = own.adapt(x[None], y[None])(queries[None])[0][:, :2]
    lengths = [(ids != 0).sum(-1) for ids in (x, queries)]
    found = answers(tmp_path / "out", [x, y, queries, *lengths] if whole else [queries, lengths[1]])
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-4)


def drawn_files(runs: Path) -> list[str]:
    return [str(file) for file in sorted((runs / "support").rglob("*.png"))]


def drawn_labels(runs: Path) -> list[str]:
    return [Path(file).parent.name for file in drawn_files(runs)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("start --format onnx", "takes gradient steps on each support set; give --support"),
        ("nearest-neighbour --format onnx", "does not say what it reads; give --support"),
        (f"{RIDGE} --format onnx", "it has no operation linalg_qr; --format torch-export can"),
        ("fine-tuning:backbone=means --format onnx", "takes gradient steps on each support set; give --support"),
        ("feature-extraction:backbone=means,head=svm --format onnx", "its head (SVM) is not fitted by one formula"),
        ("feature-extraction:backbone=means,head=forest --format onnx --support support", "scikit-learn's Forest"),
        ("means --format onyx", "unknown format 'onyx'; did you mean 'onnx'"),
        ("means --format onnx --weights last", "say it with the run, RUN:weights=last"),
        ("means --format peft --support support", "--support is of format onnx and torch-export, not peft"),
        ("means --format onnx --support support --ways 3", "the support set says how many classes there are"),
    ],
)
def test_what_is_no_graph_is_one_line(
    words: str, said: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    done = export(*words.split(), "--out", tmp_path / "out")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert said in done.stderr
    assert not (tmp_path / "out").exists()
