"""Pictures, however a user has them, with learners that were trained on drawings and with some that were not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import metaft
from metaft.assembly.meta_learner import load_run
from metaft.errors import MetaftError
from metaft.estimator.images import ImageInputs
from metaft.tasks.batch import TaskBatch
from tests.estimator.runs import SHAPES, drawing, drawings, labels, trained

GLYPHS = ("--dataset", "glyphs", "--no-rotations", "--ways", 4, "--hidden", 4)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    found = {
        name: trained("meta-train", folder / name, *GLYPHS, "--learner", name)
        for name in ("maml", "maml++", "protonet", "in-context-transformer", "proto-maml")
    }
    words = ("--dataset", "glyphs", "--no-rotations", "--hidden", 4, "--batch-size", 4, "--validate-tasks", 2)
    return found | {"pretrained": trained("pretrain", folder / "pretrained", *words)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    folder = tmp_path_factory.mktemp("drawings")
    return drawings(folder / "support"), drawings(folder / "query", each=3, first=5)


LEARNERS = (
    "{maml}", "{maml++}", "{protonet}", "{in-context-transformer}", "{proto-maml}", "{protonet}:batch_norm=inductive",
    "class-means:backbone={pretrained},normalise=l2", "fine-tuning:backbone={pretrained},steps=2",
    "feature-extraction:backbone={maml},batch_norm=inductive", "nearest-neighbour",
)  # fmt: skip


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_is_used_saved_and_loaded(
    learner: str, runs: dict[str, Path], files: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    support, queries = files
    made = metaft.load(learner.format(**runs)).fit(support, labels(support))
    found = made.predict_proba(queries)
    assert found.shape == (9, 3)
    np.testing.assert_allclose(found.sum(1), 1)
    assert set(made.predict(queries)) <= set(SHAPES)
    assert made.predict(queries).tolist() == made.classes_[found.argmax(1)].tolist()
    assert set(made.nearest_support(queries)) <= set(range(6))
    folder = made.save(tmp_path / "kept")
    moved = folder.rename(tmp_path / "moved")
    again = metaft.load(moved)
    np.testing.assert_array_equal(again.predict_proba(queries), found)
    assert again.classes_.tolist() == made.classes_.tolist()
    endings = {file.suffix for file in moved.rglob("*") if file.is_file()}
    assert endings <= {".json", ".toml", ".safetensors"}


def test_answers_are_those_of_the_learner_on_the_task(
    runs: dict[str, Path], files: tuple[list[Path], list[Path]]
) -> None:
    """Against the learner itself, and images read by Pillow alone."""

    def plain(paths: list[Path]) -> torch.Tensor:
        small = [Image.open(path).convert("RGB").resize((28, 28), Image.Resampling.LANCZOS) for path in paths]
        return 1 - torch.stack([torch.from_numpy(np.array(one))[None, :, :, 0] for one in small]).float() / 255

    (support, queries), code = files, {name: number for number, name in enumerate(sorted(SHAPES[:3]))}
    y = torch.tensor([[code[name] for name in labels(support)]])
    for name in ("maml", "protonet"):
        config, learner = load_run(runs[name])
        batch = TaskBatch(plain(support)[None], y, plain(queries)[None], torch.zeros(1, 9, dtype=torch.int64))
        steps = config.test_steps if name == "maml" else None
        expected = learner.curve(batch, steps)[-1, 0, :, :3].softmax(-1)
        made = metaft.load(runs[name]).fit(support, labels(support))
        assert made.transductive == learner.transductive
        np.testing.assert_allclose(made.predict_proba(queries), expected.numpy(), atol=1e-5)


def test_all_ways_to_give_a_picture_are_one(runs: dict[str, Path], files: tuple[list[Path], list[Path]]) -> None:
    support, queries = files
    made = metaft.load(runs["protonet"]).fit([str(file) for file in support], labels(support))
    expected = made.predict_proba(queries)
    pictures = [Image.open(file) for file in queries]
    arrays = np.stack([np.asarray(one) for one in pictures])
    given = {
        "pictures": pictures,
        "grey": [one.convert("L") for one in pictures],
        "arrays": arrays,
        "channels first": arrays.transpose(0, 3, 1, 2),
        "one channel": arrays[..., 0],
        "fractions": arrays / 255,
        "tensor": torch.from_numpy(arrays.copy()),
        "bright ink": 255 - arrays,
        "as the network takes them": made.inputs_.read(queries),
    }
    for name, one in given.items():
        np.testing.assert_allclose(made.predict_proba(one), expected, atol=1e-5, err_msg=name)


def test_ink_is_turned_where_it_is_asked_for() -> None:
    picture = [drawing("cross", 1, 28)]
    turned, left = (ImageInputs(1, 28, True, ink).read(picture) for ink in ("dark", "bright"))
    torch.testing.assert_close(turned, 1 - left)
    assert turned.mean() < 0.5
    torch.testing.assert_close(ImageInputs(1, 28, True).read(picture), turned)
    torch.testing.assert_close(ImageInputs(1, 28, False, "dark").read(picture), left)


def test_ways_that_a_head_cannot_take(runs: dict[str, Path], tmp_path: Path) -> None:
    files = drawings(tmp_path, SHAPES)
    four = metaft.load(runs["maml"]).fit(files, labels(files))
    assert four.predict_proba(files).shape == (8, 4)
    names = [f"{name} {number % 2}" for number, name in enumerate(labels(files))]
    with pytest.raises(MetaftError, match=r"at most 4 classes.*has 8.*ways=8.*class-means:backbone="):
        metaft.load(runs["maml"]).fit(files, names)
    assert metaft.load(runs["protonet"]).fit(files, names).predict_proba(files).shape == (8, 8)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda f: ["absent.png"], "there is no file 'absent.png'"),
        (lambda f: [Path("absent.png")], "absent.png cannot be read as an image"),
        (lambda f: np.zeros((2, 5)), r"\[2, 5\] holds no images"),
        (lambda f: np.full((2, 28, 28), 200.0), "lie in \\[0, 1\\]"),
        (lambda f: np.full((2, 28, 28), np.nan), "NaN"),
        (lambda f: np.zeros((2, 28, 28, 7)), "channels"),
        (lambda f: [], "no queries"),
    ],
)
def test_queries_that_are_no_images(
    wrong: Any, said: str, runs: dict[str, Path], files: tuple[list[Path], list[Path]]
) -> None:
    made = metaft.load(runs["protonet"]).fit(files[0], labels(files[0]))
    with pytest.raises(MetaftError, match=said):
        made.predict(wrong(files))


def test_mistakes_about_a_run(runs: dict[str, Path], files: tuple[list[Path], list[Path]]) -> None:
    with pytest.raises(MetaftError, match=r"image_size = 64: .*trained with 28"):
        metaft.load(runs["protonet"], image_size=64)
    with pytest.raises(MetaftError, match="fine-tuning:backbone="):
        metaft.load(runs["pretrained"])
    with pytest.raises(MetaftError, match="trained for classifications"):
        metaft.load(runs["maml"], kind="regression")
    with pytest.raises(MetaftError, match="reads images, and these examples are texts"):
        metaft.load(runs["maml"]).fit(["a", "b"], [0, 1])


def test_what_was_saved_is_checked(runs: dict[str, Path], files: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    made = metaft.load(runs["protonet"]).fit(files[0], labels(files[0]))
    folder = made.save(tmp_path / "kept")
    with pytest.raises(MetaftError, match="not empty"):
        made.save(folder)
    (weights,) = folder.rglob("weights.safetensors")
    whole = safetensors.torch.load_file(folder / "support.safetensors")
    safetensors.torch.save_file({**whole, "x": whole["x"] / 2}, folder / "support.safetensors")
    with pytest.raises(MetaftError, match="does not match its checksum"):
        metaft.load(folder)
    record = json.loads((folder / "estimator.json").read_text())
    for change, said in (({"format": 99}, "update metaft"), ({"program": "other"}, "not written by metaft")):
        (folder / "estimator.json").write_text(json.dumps(record | change))
        with pytest.raises(MetaftError, match=said):
            metaft.load(folder)
    own = {"kind": "import", "target": "unheard_of.module:Learner", "options": {}}
    made.save(tmp_path / "strange")
    record = json.loads((tmp_path / "strange" / "estimator.json").read_text())
    (tmp_path / "strange" / "estimator.json").write_text(json.dumps(record | {"learner": own}))
    with pytest.raises(MetaftError, match="METAFT_OWN_CODE"):
        metaft.load(tmp_path / "strange").predict(files[1])
    assert weights.is_file()


def test_a_picture_of_answers() -> None:
    shades = np.array([np.full((8, 8), level, np.uint8) for level in (10, 20, 200, 210)])
    made = metaft.load("nearest-neighbour", image_size=8, colours="grey").fit(shades, ["low", "low", "high", "high"])
    figure = made.plot(shades[[0, 3, 1]], ["low", "high", "high"])
    said = [text.get_text() for text in figure.axes[0].texts]
    assert "queries: 2 of 3 right" in said
    assert sum(text.startswith("low\n") for text in said) == 2
    drawn = [image.get_array() for image in figure.axes[0].get_images()]
    assert len(drawn) == 4 + 3
    np.testing.assert_allclose(drawn[-1], 255 - 20, atol=1)
    assert "2 classes × 2 support examples" in made._repr_html_()
    with pytest.raises(MetaftError, match="3 queries and 1 labels"):
        made.plot(shades[:3], ["low"])
    rows = metaft.load("nearest-neighbour").fit([[0.0], [1.0]], ["a", "b"])
    with pytest.raises(MetaftError, match="plot draws images, and this learner reads numbers"):
        rows.plot([[0.5]])
