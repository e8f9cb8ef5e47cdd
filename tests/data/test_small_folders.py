"""Folders of few classes or few images: what is asked for where nobody says it, groups of which each is tested once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaft.assembly.tasks import build_family, fitting_tasks
from metaft.data.class_lists import Fold, by_seed
from metaft.data.folder_layout import layout
from metaft.data.splits import SPLITS
from metaft.errors import MetaftError
from metaft.settings.config import RunConfig, validated
from metaft.settings.family import with_dataset


def images(folder: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng(i).integers(0, 255, (9, 9, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.parametrize(("classes", "folds"), [(6, 3), (7, 3), (10, 10), (11, 4), (3, 3)])
def test_each_class_is_tested_and_validated_on_once(classes: int, folds: int) -> None:
    names = [f"class {i}" for i in range(classes)]
    divided = [by_seed(names, 5, fold=Fold(folds, fold)) for fold in range(folds)]
    for split in ("test", "val"):
        assert sorted(name for lists in divided for name in lists[split]) == sorted(names)
    for lists in divided:
        assert sorted(name for split in SPLITS for name in lists[split]) == sorted(names)
        assert all(lists[split] for split in SPLITS)
        assert max(map(len, (lists["val"], lists["test"]))) <= -(-classes // folds)
    assert by_seed(names[::-1], 5, fold=Fold(folds, 0)) == divided[0]
    assert all(by_seed(names, seed, fold=Fold(folds, 0)) != divided[0] for seed in (0, 1)) or classes == 3


def test_what_cannot_be_divided_into_groups_is_said(tmp_path: Path) -> None:
    for folds, fold, said in ((2, 0, "folds must be"), (3, 3, "the groups are 0 to 2")):
        with pytest.raises(MetaftError, match=said):
            Fold(folds, fold)
    with pytest.raises(MetaftError, match="say of how many groups"):
        Fold.of(None, 1)
    with pytest.raises(MetaftError, match="cannot be divided into 4 groups"):
        by_seed(["a", "b", "c"], 0, fold=Fold(4, 0))
    for split in SPLITS:
        (tmp_path / "parts" / split / f"of {split}").mkdir(parents=True)
    with pytest.raises(MetaftError, match=r"folds = 3: .* says itself"):
        layout(tmp_path / "parts", 0, fold=Fold(3, 0))
    with pytest.raises(MetaftError, match="is divided in its own way; folds are of folder"):
        build_family(validated(RunConfig, {"dataset": "glyphs", "folds": 3}), "test", 0)


def test_how_a_seed_divides_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in "abcdefghij":
        (tmp_path / name).mkdir()
    found = layout(tmp_path, 0).folders
    (line,) = caplog.messages
    assert "10 classes divided at random, 64 : 16 : 20, by split_seed = 0; train: " in line
    assert f"; val: {', '.join(found['val'])}; test: {', '.join(found['test'])}" in line


@pytest.mark.parametrize(
    ("asked", "root", "more"),
    [
        ("folder:photos", "photos", {}),
        ("folder:/a/b c,size=64", "/a/b c", {"image_size": "64"}),
        ("texts:mine.csv,text=said", "mine.csv", {"dataset_options": "text=said"}),
        ("folder:root=photos,folds=3", "photos", {"folds": "3"}),
    ],
)
def test_the_place_stands_behind_the_name(asked: str, root: str, more: dict[str, str]) -> None:
    assert with_dataset({"dataset": asked}) == {"dataset": asked.partition(":")[0], "data_root": root, **more}


def test_an_import_path_remains_one() -> None:
    assert with_dataset({"dataset": "my_images:stripes"}) == {"dataset": "my_images:stripes"}


def test_no_more_is_asked_for_than_there_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = images(tmp_path / "own", {"a": 4, "b": 8, "c": 9, "d": 2})
    fitted = lambda given, shots=1: fitting_tasks(
        validated(RunConfig, {"dataset": f"folder:{folder},size=9", **given}), given, "all", shots
    )
    config = fitted({})
    assert (config.ways, config.queries) == (4, 1)
    assert "class 'd' has only 2 images; --queries asks for another number, and --min-examples" in caplog.text
    config = fitted({"min_examples": 4}, shots=3)
    assert (config.ways, config.queries) == (3, 1)
    assert "1 class of 4 left out, having fewer than 4 images: d (2)" in caplog.text
    config = fitted({"queries": 7, "ways": 2})
    assert (config.ways, config.queries) == (2, 7)
    with pytest.raises(MetaftError, match="has a class with only 2"):  # said where the tasks are made
        build_family(config, "all", 0)
    large = validated(RunConfig, {"dataset": "glyphs"})
    assert fitting_tasks(large, (), "test", 1) is large
