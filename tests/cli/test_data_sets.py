"""Folders, tables, ragged episodes and transfer between data sets, through the commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from metaft.assembly.meta_learner import run_config
from metaft.cli import cli
from metaft.commands.transfer import evaluation_config
from metaft.data import catalog

QUICK = ["--engine", "eager", "--workers", 1, "--iterations", 2, "--tasks", 2, "--validate-tasks", 4, "--queries", 3]
QUICK += ["--steps", 1, "--hidden", 4, "--inner-lr", 0.1, "--quiet"]


def metaft(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METAFT_DATA", raising=False)


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Fifteen classes of colour images, eight each."""
    rng = np.random.default_rng(0)
    for c in range(15):
        (tmp_path / "birds" / f"bird{c:02d}").mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 256, 3) * np.ones((20, 24, 3)) + rng.normal(0, 20, (20, 24, 3))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(tmp_path / "birds" / f"bird{c:02d}" / f"{i}.png")
    return tmp_path / "birds"


@pytest.fixture
def small_glyphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Glyphs of one alphabet, for speed."""
    info = catalog.DATASETS["glyphs"]
    drawn = info.load
    assert drawn is not None

    def load(split, *, root=None, size=28, rotations=True):
        return drawn(split, alphabets=1, size=size, rotations=rotations)

    monkeypatch.setitem(catalog.DATASETS, "glyphs", type(info)(**{**vars(info), "load": load}))


def result_of(run: Path) -> dict:
    """Of the evaluation made last: the others have been read, and with that removed."""
    (newest,) = (run / "evaluations").glob("*.json")
    page = json.loads(newest.read_text())
    newest.unlink()
    return page


def test_a_folder_of_images_from_training_to_evaluation(tmp_path: Path, birds: Path) -> None:
    folder = ["--dataset", "folder", "--data-root", birds, "--image-size", 16, "--ways", 2]
    result = metaft("meta-train", *folder, *QUICK, "--out", "run")
    assert result.exit_code == 0, result.stderr
    config = run_config("run")
    assert (config.pool, config.rotations, config.test_steps) == ("max", False, None), "steps were given"
    result = metaft("evaluate", "run", "--tasks", 4)
    assert result.exit_code == 0, result.stderr
    family = next(iter(result_of(tmp_path / "run")["results"].values()))["family"]
    assert (family["dataset"], family["classes"], family["split_seed"]) == ("folder", 3, 0)
    result = metaft("meta-train", *folder, *QUICK, "--out", "deep", "--model", "resnet12", "--widths", "doubling")
    assert result.exit_code == 0, result.stderr
    result = metaft("meta-train", *folder, *QUICK, "--out", "seven", "--shots", 6)
    assert result.exit_code == 2
    assert (
        "6 shots + 3 queries need 9 examples a class, but folder (train) has a class with only 8 (bird" in result.stderr
    )


def test_colour_images_turn_grey_for_a_run_on_grey_ones_and_back(
    tmp_path: Path, birds: Path, small_glyphs: None, caplog: pytest.LogCaptureFixture
) -> None:
    shape = ["--ways", 2, "--image-size", 16, *QUICK]
    assert metaft("meta-train", "--dataset", "glyphs", *shape, "--out", "grey").exit_code == 0
    result = metaft("evaluate", "grey", "--dataset", "folder", "--data-root", birds, "--tasks", 4)
    assert result.exit_code == 0, result.stderr
    assert "folder: images are turned grey, as the run was trained" in caplog.text
    family = next(iter(result_of(tmp_path / "grey")["results"].values()))["family"]
    assert (family["channels"], family["rotations"], family["size"]) == (1, False, 16)
    folder = ["--dataset", "folder", "--data-root", birds]
    assert metaft("meta-train", *folder, *shape, "--out", "rgb").exit_code == 0
    result = metaft("evaluate", "rgb", "--dataset", "glyphs", "--tasks", 4)
    assert result.exit_code == 0, result.stderr
    assert "glyphs: images are turned into colour" in caplog.text
    caplog.clear()
    assert metaft("meta-train", *folder, "--colours", "grey", *shape, "--out", "made-grey").exit_code == 0
    assert metaft("evaluate", "made-grey", "--dataset", "glyphs", "--tasks", 4).exit_code == 0
    assert "turned" not in caplog.text


def test_ragged_episodes_from_training_to_evaluation(tmp_path: Path, small_glyphs: None) -> None:
    ragged = ["--dataset", "glyphs", "--ways", "2-4", "--shots", "1-3", "--image-size", 16]
    result = metaft("meta-train", *ragged, *QUICK, "--out", "run")
    assert result.exit_code == 0, result.stderr
    for given, ways, shots in (
        ([], "2-4", "1-3"),
        (["--shots", 2], "2-4", 2),
        (["--ways", 4, "--shots", 1], 4, 1),
        (["--ways", "3-4", "--batch-norm", "inductive"], "3-4", "1-3"),
    ):
        result = metaft("evaluate", "run", "--tasks", 4, *given)
        assert result.exit_code == 0, result.stderr
        family = next(iter(result_of(tmp_path / "run")["results"].values()))["family"]
        assert (family["ways"], family["shots"]) == (ways, shots)
    result = metaft("evaluate", "run", "--ways", 3)
    assert result.exit_code == 2
    assert "the run tells 4 classes apart, not 3; " in result.stderr
    assert "--ways 2-4" in result.stderr


def test_what_another_data_set_brings_with_it(small_glyphs: None) -> None:
    assert metaft("meta-train", "--ways", "2-3", "--image-size", 16, *QUICK, "--out", "run").exit_code == 0
    own = run_config("run")
    assert evaluation_config(own, {"shots": None}) == own
    other = evaluation_config(own, {"dataset": "cifar-fs", "shots": 5})
    assert (other.colours, other.fewest_shots, other.fewest_ways, other.image_size) == ("grey", None, 2, 16)
    least = own.model_copy(update={"dataset": "folder", "min_examples": 9, "colours": "rgb"})
    assert evaluation_config(least, {"dataset": "cifar-fs"}).min_examples is None


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with open(tmp_path / "t.csv", "w", newline="") as file:
        rows = [["school", "hours", "sleep", "score"]]
        for g in range(12):
            slope = rng.normal()
            rows += [[f"s{g}", h := rng.normal(), s := rng.normal(), slope * h + s] for _ in range(10)]
        csv.writer(file).writerows(rows)
    return tmp_path / "t.csv"


def test_a_table_from_training_to_evaluation(tmp_path: Path, table: Path) -> None:
    columns = ["--dataset", "table", "--data-root", table, "--group", "school", "--target", "score"]
    result = metaft("meta-train", *columns, *QUICK, "--shots", 4, "--out", "run")
    assert result.exit_code == 0, result.stderr
    assert run_config("run").model == "mlp"
    result = metaft("evaluate", "run", "--tasks", 4)
    assert result.exit_code == 0, result.stderr
    written = next(iter(result_of(tmp_path / "run")["results"].values()))
    assert (written["metric"], written["family"]["features"]) == ("mse", "hours,sleep")
    unsound = metaft("evaluate", "run", "--tasks", 4, "--split", "all")
    assert unsound.exit_code == 2
    assert "run was trained on groups of this table, and --split all has them in it" in unsound.stderr
    again = metaft("evaluate", "run", "--tasks", 4, "--ways", 5, "--shots", 3)
    assert again.exit_code == 0, again.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--group", "school", "--target", "score"], "data set 'table' needs --data-root: the CSV file"),
        (["--data-root", "t.csv", "--target", "score"], "data set 'table' needs --group"),
        (["--data-root", "t.csv", "--group", "school"], "data set 'table' needs --target"),
        (["--data-root", "t.csv", "--group", "school", "--target", "scor"], "did you mean 'score'"),
        (["--data-root", "t.csv", "--group", "school", "--target", "score", "--shots", "9"], "has 10 rows"),
        (["--data-root", "t.csv", "--group", "school", "--target", "score", "--shots", "1-3"], "takes one number"),
    ],
)
def test_mistakes_about_tables(tmp_path: Path, table: Path, given: list[str], said: str) -> None:
    result = metaft("meta-train", "--dataset", "table", "--out", "run", *given)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.fixture
def six(birds: Path) -> Path:
    """Six classes of the fifteen, one of them with fewer images."""
    for c in range(6, 15):
        for file in (birds / f"bird{c:02d}").iterdir():
            file.unlink()
        (birds / f"bird{c:02d}").rmdir()
    (birds / "bird05" / "7.png").unlink()
    return birds


def test_a_small_folder_has_a_way_forward(tmp_path: Path, six: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = ["--dataset", "folder", "--data-root", six, "--image-size", 16, "--queries", 3]
    for command in (
        ["meta-train", "--out", "run"],
        ["meta-train", "--ways", 2, "--out", "run"],
        ["pretrain", "--out", "run"],
        ["compare", "nearest-neighbour", "--out", "table"],
    ):
        result = metaft(*command, *folder)
        assert result.exit_code == 2
        assert "its 6 classes are divided 4 / 1 / 1 (train / val / test)" in result.stderr
        assert "--split all" in result.stderr
        assert result.stderr.count("\n") == 1
    compare = ["compare", "nearest-neighbour", *folder, "--tasks", 4, "--split", "all"]
    result = metaft(*compare, "--ways", 6, "--out", "table")
    assert result.exit_code == 0, result.stderr
    told = json.loads((tmp_path / "table" / "comparison.json").read_text())
    assert (told["family"]["split"], told["family"]["classes"]) == ("all", 6)
    result = metaft(*compare, "--ways", 5, "--shots", 5, "--out", "five")
    assert result.exit_code == 2
    assert "only 7 (bird05): ask for fewer, or leave out the 1 of 6 classes of fewer than 8 examples" in result.stderr
    caplog.clear()
    result = metaft(*compare, "--ways", 5, "--shots", 5, "--min-examples", 8, "--out", "five")
    assert result.exit_code == 0, result.stderr
    assert caplog.text.count("1 class of 6 left out, having fewer than 8 images: bird05 (7)") == 1
    result = metaft(*compare, "--split", "val", "--out", "other")
    assert "split = 'val': learners are compared on 'test' classes, or on 'all' if they train none" in result.stderr
    random = metaft("compare", "fine-tuning:backbone=random", *folder, "--split", "all", "--out", "other")
    assert random.exit_code == 2
    assert "--split all leaves none; give a run as backbone" in random.stderr


def test_no_run_is_scored_on_all_classes_of_what_it_was_trained_on(birds: Path, small_glyphs: None) -> None:
    folder = ["--dataset", "folder", "--data-root", birds]
    shape = ["--ways", 2, "--image-size", 16]
    assert metaft("meta-train", *folder, *shape, *QUICK, "--out", "run").exit_code == 0
    for command in (
        ["evaluate", "run", "--split", "all"],
        ["compare", "run", *folder, *shape, "--queries", 3, "--split", "all", "--out", "table"],
    ):
        result = metaft(*command, "--tasks", 4)
        assert result.exit_code == 2
        assert "run was trained on 10 of the test classes (bird" in result.stderr
    result = metaft("evaluate", "run", "--dataset", "glyphs", "--split", "all", "--tasks", 4)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["meta-train", "--min-examples", 5, "--out", "run"], "min_examples = 5: data set glyphs leaves out no class"),
        (["compare", "nearest-neighbour", "--dataset", "sinusoid", "--split", "all"], "sinusoid has no classes"),
    ],
)
def test_what_a_data_set_cannot_do_is_said(given: list[object], said: str) -> None:
    result = metaft(*given)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_settings_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbf[family]\r\ndataset = 'glyph'\r\n")
    assert "unknown data set 'glyph'" in metaft("meta-train", "--config", "c.toml", "--out", "run").stderr


def test_data_lists_them_all() -> None:
    shown = metaft("data").stdout
    assert all(name in shown for name in ("mini-imagenet", "cifar-fs", "folder", "table", "not found"))
