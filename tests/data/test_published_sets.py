"""miniImageNet and CIFAR-FS in the layouts in use, made small; the lists against the published files."""

import codecs
import csv
import io
import json
import logging
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metaft.data import catalog, cifar_fs, mini_imagenet
from metaft.data.class_lists import Published, published
from metaft.errors import MetaftError

DATA = os.environ.get("METAFT_DATA")
SPLITS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METAFT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def lists(name: str) -> Path:
    folder = Path(DATA or "data") / "splits" / name
    if not folder.exists():
        pytest.skip("METAFT_DATA names no folder with splits/, the published lists")
    return folder


def test_mini_imagenets_classes_are_those_of_the_published_lists():
    folder = lists("miniimagenet_ravi")
    for split in SPLITS:
        with open(folder / f"{split}.csv") as file:
            rows = list(csv.DictReader(file))
        ours = published("mini_imagenet")
        assert set(ours.classes[split]) == {row["label"] for row in rows}
        assert all(ours.images[row["label"]] == 600 for row in rows)
    assert [len(ours.classes[split]) for split in SPLITS] == [64, 16, 20]


def test_the_published_file_names_are_recognised(caplog):
    folder = lists("miniimagenet_ravi")
    files: dict[str, list[Path]] = {}
    with open(folder / "val.csv") as file:
        for row in csv.DictReader(file):
            files.setdefault(row["label"], []).append(Path(row["filename"]))
    mini_imagenet._compare(files)
    assert caplog.text == ""
    first = next(iter(files))
    files[first][0] = Path(f"{first}99999999.jpg")
    mini_imagenet._compare(files)
    assert f"class {first} are not those of the published lists" in caplog.text


def test_cifar_fs_classes_are_those_of_the_published_lists():
    folder = lists("cifar_fs")
    for split in SPLITS:
        listed = {name for _, name in json.loads((folder / f"{split}.json").read_text())}
        assert set(published("cifar_fs").classes[split]) == listed


@pytest.fixture
def small(monkeypatch):
    """miniImageNet with two classes a split, of three images each."""
    classes = {split: tuple(f"n{100 * i + j:08d}" for j in range(2)) for i, split in enumerate(SPLITS)}
    names = [name for part in classes.values() for name in part]
    made = Published(classes, dict.fromkeys(names, 3), {})
    monkeypatch.setattr(mini_imagenet, "published", lambda name: made)
    return classes


def colour(number):
    return (number * 7 % 256, number * 13 % 256, number * 29 % 256)


def save(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), colour(number)).save(path)


OTHER_NAMES = {"train": "Training", "val": "VAL", "test": "Test"}
LAYOUTS = {
    "flat": lambda split, name, i: f"images/{name}{i:08d}.png",
    "flat at once": lambda split, name, i: f"{name}{i:08d}.png",
    "class folders": lambda split, name, i: f"{name}/{name}_{i}.png",
    "in split folders": lambda split, name, i: f"{split}/{name}/{i}.png",
    "in images": lambda split, name, i: f"images/{name}/{i}.png",
    "flat in split folders": lambda split, name, i: f"{split}/{name}{i:08d}.png",
    "in split folders of other names": lambda split, name, i: f"{OTHER_NAMES[split]}/{name}/{i}.TIF",
}


@pytest.mark.parametrize("around", ["", "miniimagenet", "mini-imagenet"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_mini_imagenet_is_found_in_the_layouts_in_use(tmp_path, small, layout, around, caplog):
    monkey = mini_imagenet.published("").digests
    root = tmp_path / "d"
    for split, names in small.items():
        for name in names:
            for i in range(3):
                save(root / around / LAYOUTS[layout](split, name, i), int(name[1:]) + i)
            monkey[name] = ""
    caplog.set_level(logging.WARNING)
    for split, names in small.items():
        held = catalog.load_images("mini-imagenet", split, root=root, size=8)
        assert held.names == names
        assert held.counts.tolist() == [3, 3]
        for c, name in enumerate(names):
            for i in range(3):
                expected = torch.tensor(colour(int(name[1:]) + i), dtype=torch.uint8).reshape(3, 1, 1)
                assert (held.images[3 * c + i] == expected).all()
    assert caplog.text == ""
    assert str(root) in catalog.DATASETS["mini-imagenet"].where(root)


def test_files_of_mini_imagenet_that_are_no_images_are_counted_aloud(tmp_path, small, caplog):
    for name in small["test"]:
        for i in range(2):
            save(tmp_path / "images" / f"{name}{i:08d}.png", i)
    (tmp_path / "images" / f"{small['test'][0]}00000009.heic").write_bytes(b"?")
    mini_imagenet.load("test", root=tmp_path, size=8)
    assert "1 file passed over as no image: 1 .heic, such as" in caplog.text


def test_an_incomplete_mini_imagenet_is_told(tmp_path, small, caplog):
    names = small["test"]
    for i in range(2):
        save(tmp_path / "a" / names[0] / f"{i}.png", i)
    with pytest.raises(MetaftError, match=f"no folder for class '{names[1]}' of miniImageNet .1 of 2 are missing"):
        mini_imagenet.load("test", root=tmp_path / "a")
    assert "incomplete" in mini_imagenet.where(tmp_path / "a")
    save(tmp_path / "b" / f"{names[0]}00000001.jpg", 1)
    with pytest.raises(MetaftError, match=f"no image of class {names[1]}"):
        mini_imagenet.load("test", root=tmp_path / "b")
    save(tmp_path / "a" / names[1] / "0.png", 5)
    mini_imagenet.load("test", root=tmp_path / "a", size=8)
    assert f"class {names[0]} has 2 images, " in caplog.text


@pytest.mark.parametrize(("name", "words"), [("mini-imagenet", "image-net.org"), ("cifar-fs", "binary version")])
def test_absent_images_come_with_instructions(tmp_path, name, words):
    assert catalog.DATASETS[name].where(tmp_path) is None
    with pytest.raises(MetaftError, match=words) as error:
        catalog.load_images(name, "train", root=tmp_path)
    assert str(tmp_path) in error.value.message
    assert "\n" not in error.value.message
    with pytest.raises(MetaftError, match="unknown split"):
        catalog.load_images(name, "training", root=tmp_path)


def fine_names():
    return sorted(name for part in published("cifar_fs").classes.values() for name in part)


def records(labels, seed):
    content = np.random.default_rng(seed).integers(0, 256, (len(labels), 3074), dtype=np.uint8)
    content[:, 1] = labels
    return content


def write_tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-100-binary/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def binary_files():
    train, test = records([*range(100), *range(100)], 0), records(range(100), 1)
    files = {"train.bin": train.tobytes(), "test.bin": test.tobytes(), "coarse_label_names.txt": b"x\n"}
    return files | {"fine_label_names.txt": "\n".join(fine_names()).encode()}, np.concatenate([train, test])


@pytest.mark.parametrize("folder", [False, True])
def test_cifars_binary_version(tmp_path, folder):
    files, content = binary_files()
    if folder:
        (tmp_path / "cifar-100-binary").mkdir()
        for name, data in files.items():
            (tmp_path / "cifar-100-binary" / name).write_bytes(data)
    else:
        write_tar(tmp_path / "cifar-fs" / "cifar-100-binary.tar.gz", files)
    seen = []
    for split in SPLITS:
        held = catalog.load_images("cifar-fs", split, root=tmp_path)
        assert held.images.shape == (3 * held.classes, 3, 32, 32)
        for c, name in enumerate(held.names):
            rows = np.flatnonzero(content[:, 1] == fine_names().index(name))
            expected = content[rows, 2:].reshape(-1, 3, 32, 32)
            assert np.array_equal(held.images[3 * c : 3 * c + 3].numpy(), expected)
        seen += held.names
    assert sorted(seen) == fine_names()
    assert catalog.load_images("cifar-fs", "val", root=tmp_path, size=16).images.shape[-1] == 16
    assert "cifar-100-binary" in catalog.DATASETS["cifar-fs"].where(tmp_path)


def test_cifars_names_of_classes_as_windows_writes_them(tmp_path):
    files, _ = binary_files()
    names = files["fine_label_names.txt"]
    write_tar(tmp_path / "plain" / "cifar-100-binary.tar.gz", files)
    files["fine_label_names.txt"] = codecs.BOM_UTF8 + names.replace(b"\n", b"\r\n")
    write_tar(tmp_path / "windows" / "cifar-100-binary.tar.gz", files)
    one, other = (cifar_fs.load("test", root=tmp_path / place) for place in ("plain", "windows"))
    assert one.digest == other.digest


def test_cifar_fs_as_its_authors_distribute_it(tmp_path):
    for number, name in enumerate(fine_names()):
        save(tmp_path / "cifar100" / "data" / name / "0.png", number)
    held = catalog.load_images("cifar-fs", "test", root=tmp_path, size=8)
    assert held.names == published("cifar_fs").classes["test"]
    assert held.images[0, :, 0, 0].tolist() == list(colour(fine_names().index(held.names[0])))
    assert catalog.DATASETS["cifar-fs"].where(tmp_path) == str(tmp_path / "cifar100" / "data")


def without(name):
    return lambda files: files.pop(name)


DAMAGE = {
    "no test.bin": (without("test.bin"), "test.bin is missing"),
    "cut record": (lambda f: f.update({"train.bin": f["train.bin"][:-1]}), "train.bin has .* not a multiple of 3074"),
    "no class": (lambda f: f.update({"test.bin": records([100], 0).tobytes()}), "no class of CIFAR-100"),
    "other names": (lambda f: f.update({"fine_label_names.txt": b"cat\ndog"}), "does not hold the 100 classes"),
    "class absent": (lambda f: f.update({k: records([0], 0).tobytes() for k in ("train.bin", "test.bin")}), "no image"),
    "too large": (lambda f: f.update({"train.bin": bytes(3074 * 50_001)}), "larger than CIFAR-100's"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_binary_version(tmp_path, name):
    files, _ = binary_files()
    spoil, said = DAMAGE[name]
    spoil(files)
    write_tar(tmp_path / "cifar-100-binary.tar.gz", files)
    with pytest.raises(MetaftError, match=said):
        [cifar_fs.load(split, root=tmp_path) for split in SPLITS]


def test_a_truncated_archive_and_one_that_is_none(tmp_path):
    archive = tmp_path / "cifar-100-binary.tar.gz"
    write_tar(archive, binary_files()[0])
    whole = archive.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello"):
        archive.write_bytes(content)
        with pytest.raises(MetaftError, match="cannot be read"):
            cifar_fs.load("train", root=tmp_path)
