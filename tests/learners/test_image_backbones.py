"""Learners on published networks of images: compared, trained, saved, and loaded without the file of weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from PIL import Image
from torchvision import models

import metaft
from metaft.assembly.backbone import load_backbone
from metaft.assembly.meta_learner import load_run
from metaft.cli import cli
from metaft.errors import MetaftError
from metaft.learners.class_means import ClassMeans
from metaft.models import build
from metaft.models.functional import Functional
from metaft.models.layers import LayerFeatures
from metaft.tasks.batch import TaskBatch

NETWORK = "torchvision:squeezenet1_1"
NORMED = "torchvision:shufflenet_v2_x0_5"


def photographs(folder: Path, counts: tuple[int, ...]) -> Path:
    """Classes of coloured noise, each about a colour of its own."""
    for name, count in zip("abcdefghij", counts, strict=False):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            draw = np.random.default_rng([ord(name), i])
            colour = np.random.default_rng(ord(name)).integers(40, 215, 3)
            pixels = (colour + draw.normal(0, 20, (20, 30, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes, and files of weights."""
    folder = tmp_path_factory.mktemp("own")
    photographs(folder / "photos", (6,) * 6)
    torch.manual_seed(0)
    for text in (NETWORK, NORMED):
        name = text.partition(":")[2]
        network = models.get_model(name, weights=None)
        for key, value in network.state_dict().items():
            if key.endswith(("running_mean", "running_var", "bias")):
                value.add_(0.25)  # otherwise than construction has them
        safetensors.torch.save_file(network.state_dict(), folder / f"{name}.safetensors")
    return folder


def weights(text: str, place: Path) -> str:
    return f"{text}:weights={place / text.partition(':')[2]}.safetensors+size=32"


def run(*words: object) -> Any:
    return CliRunner().invoke(cli, list(map(str, words)))


def test_a_folder_of_photographs_answers_in_one_command(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = weights(NETWORK, place)
    learners = (f"class-means:backbone={asked}", f"feature-extraction:backbone={asked}+layer=features.4",
                f"fine-tuning:backbone={asked},scope=last:2,steps=1,rate=0.001,addition=lora:rank=1")  # fmt: skip
    done = run("compare", *learners, "--dataset", f"folder:{place / 'photos'},size=16", "--split", "all", "--tasks", 2,
               "--ways", 2, "--workers", 1)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "queries = 5 a class, not 15: class 'a' has only 6 images" in caplog.text
    cells = [json.loads(line) for line in (tmp_path / "comparisons/folder/results.jsonl").read_text().splitlines()]
    assert [cell["result"]["family"]["queries"] for cell in cells] == [5] * 3
    assert cells[0]["result"]["family"]["classes"] == 6


@pytest.mark.parametrize(
    ("learner", "more", "said"),
    [
        ("class-means:backbone=torchvision:resnet81", (), "did you mean 'resnet1"),
        (f"class-means:backbone={NETWORK}:weights=none+layer=fire", (), "it has features, features.0, "),
        (f"class-means:backbone={NETWORK}:weights=none", ("--dataset", "intents"), "reads images of 1 or 3 channels"),
        ("class-means:backbone=random", (), "--split all leaves none"),
        ("fine-tuning", (), "backbone=torchvision:resnet18, a published network"),
    ],
)
def test_what_does_not_fit_is_one_line(
    learner: str, more: tuple[str, ...], said: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = more or ("--dataset", f"folder:{place / 'photos'}", "--split", "all")
    done = run("compare", learner, *data, "--tasks", 2)
    assert (done.exit_code, said in done.stderr, "Traceback" in done.output) == (2, True, False), done.output


def test_features_of_an_image_are_computed_once(place: Path) -> None:
    model = build(weights(NORMED, place), outputs=2, input_shape=(3, 16, 16), seed=0)
    learner, passed = ClassMeans(model, normalise="none"), list[int]()
    images = torch.rand(7, 3, 16, 16)
    plain = learner.embedding.network
    learner.embedding.network = lambda params, x: passed.append(len(x)) or plain(params, x)  # type: ignore
    learner.embedding.network.module, learner.embedding.network.buffers = plain.module, plain.buffers  # type: ignore
    tasks, more = torch.tensor([[0, 1, 2], [2, 1, 3]]), torch.tensor([[3, 2, 4]])
    first, again = (learner.embedding.all(learner.params, images[rows]) for rows in (tasks, more))
    assert passed == [4, 1]
    expected = model.features(images)  # type: ignore[operator]
    torch.testing.assert_close(first, expected[tasks])
    torch.testing.assert_close(again, expected[more])
    moved = {name: value + 0.01 for name, value in learner.params.items()}
    assert not torch.allclose(learner.embedding.all(moved, images[more]), again)
    assert passed == [4, 1, 3]


def test_an_estimator_is_saved_with_the_weights(place: Path, tmp_path: Path) -> None:
    own = tmp_path / "w.safetensors"
    own.write_bytes((place / "squeezenet1_1.safetensors").read_bytes())
    files = sorted((place / "photos").rglob("*.png"))
    labels = [file.parent.name for file in files]
    made = metaft.load(f"class-means:backbone={NETWORK}:weights={own}+size=32").fit(files[::2], labels[::2])
    found = made.predict_proba(files[1::2])
    made.save(tmp_path / "saved")
    own.unlink()
    again = metaft.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.predict_proba(files[1::2]), found)
    assert (made.predict(files[1::2]) == labels[1::2]).mean() > 0.8
    done = run("predict", tmp_path / "saved", "--query", place / "photos")
    assert done.exit_code == 0, done.output
    held = safetensors.torch.load_file(tmp_path / "saved" / "backbone.safetensors")
    held["features.0.bias"] += 1
    safetensors.torch.save_file(held, tmp_path / "saved" / "backbone.safetensors")
    with pytest.raises(MetaftError, match="other weights than those that it was saved with"):
        metaft.load(tmp_path / "saved").predict(files[:1])


@pytest.mark.parametrize("frozen", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_run_keeps_the_weights_that_it_began_from(
    frozen: bool, place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, network, first = tmp_path / "w.safetensors", *((NETWORK, "features.0") if frozen else (NORMED, "conv1.0"))
    original = place / f"{network.partition(':')[2]}.safetensors"
    own.write_bytes(original.read_bytes())
    few = ("--ways", 2, "--queries", 2, "--tasks", 2)
    words = ("--dataset", f"folder:{place / 'photos'}", "--image-size", 16, *few, "--folds", 3, "--validate-tasks", 2,
             "--learner", "protonet" if frozen else "anil", "--iterations", 1,
             *(("--frozen", "base", "--addition", "lora:rank=1") if frozen else ("--engine", "eager")))  # fmt: skip
    done = run("meta-train", "--model", f"{network}:weights={own},size=32", *words, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "6 classes divided at random, group 0 of 3 for test, by split_seed = 0; train: " in caplog.text
    own.unlink()
    _, learner = load_run(tmp_path / "run")
    found = load_backbone(tmp_path / "run").get_parameter(f"model.{first}.weight")
    begun = safetensors.torch.load_file(original)[f"{first}.weight"]
    torch.testing.assert_close(found, begun, rtol=0, atol=0.002 if not frozen else 0)
    if frozen:  # not in the checkpoint: read again from the run's own copy
        (checkpoint,) = {path.parent for path in (tmp_path / "run/checkpoints").rglob("weights.safetensors")}
        kept = safetensors.torch.load_file(checkpoint / "weights.safetensors")
        assert not any(name.endswith(f"{first}.weight") for name in kept)
    other = f"folder:{place / 'photos'},size=16,folds=3,fold=1"
    done = run("compare", tmp_path / "run", "--dataset", other, *few, "--out", tmp_path / "c")
    assert (done.exit_code, "of the test classes" in done.stderr) == (2, True), done.output  # another fold's
    assert learner.describe()["learner"] in ("protonet", "anil")


def test_meta_gradients_are_plain_autograds(place: Path) -> None:
    model = build(weights(NORMED, place), outputs=2, input_shape=(3, 16, 16), seed=0).double()
    learner = metaft.learners.MAML(
        model, rule=metaft.SGD(lr=0.01), steps=1, scope="last:1", estimator="exact", batch_norm="inductive"
    )
    draw = lambda n: torch.rand(2, n, 3, 16, 16, dtype=torch.float64)
    batch = TaskBatch(draw(4), torch.tensor([[0, 1, 0, 1]] * 2), draw(2), torch.tensor([[0, 1]] * 2))
    found = learner.meta_gradient(batch).grads
    net, params = Functional(model, "inductive"), {n: p.requires_grad_() for n, p in learner.params.items()}
    loss = torch.zeros((), dtype=torch.float64)
    for s, sy, q, qy in zip(batch.support_x, batch.support_y, batch.query_x, batch.query_y, strict=True):
        head = [n for n in params if n.startswith("head.")]
        inner = torch.nn.functional.cross_entropy(net(params, s), sy)
        grads = torch.autograd.grad(inner, [params[n] for n in head], create_graph=True)
        moved = {**params, **{n: params[n] - 0.01 * g for n, g in zip(head, grads, strict=True)}}
        loss = loss + torch.nn.functional.cross_entropy(net.query(moved, s, q), qy) / 2
    expected = torch.autograd.grad(loss, list(params.values()))
    for name, value in zip(params, expected, strict=True):
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9)


def test_layers_are_named_as_of_any_network(place: Path) -> None:
    model = build(weights(NETWORK, place), outputs=2, input_shape=(3, 16, 16), seed=0)
    assert LayerFeatures(model, "model.features.4+penultimate")(torch.rand(2, 3, 16, 16)).shape == (2, 128 + 512)
