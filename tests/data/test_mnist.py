from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from metaft.data import catalog, mnist
from metaft.data.compat import torchvision_module
from metaft.errors import MetaftError
from tests.data.drawings import real_root


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def write(folder: Path, packed: bool = True, count: int = 40) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for prefix in ("train", "t10k"):
        made[f"{prefix}-images-idx3-ubyte"] = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        made[f"{prefix}-labels-idx1-ubyte"] = draw.permutation(np.arange(count, dtype=np.uint8) % 10)
    for name, values in made.items():
        content = idx(values)
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return made


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["", "mnist", "MNIST/raw"])
def test_every_place_and_packing_sorted_by_digit(tmp_path: Path, packed: bool, place: str) -> None:
    made = write(tmp_path / place, packed)
    images = catalog.load_images("mnist", "test", tmp_path)
    labels = made["t10k-labels-idx1-ubyte"]
    assert images.counts.tolist() == [4] * 10
    for digit in range(10):
        expected = made["t10k-images-idx3-ubyte"][labels == digit]
        found = images.images[int(images.starts[digit]) :][: len(expected), 0]
        assert torch.equal(found, torch.from_numpy(expected))
    assert catalog.load_images("mnist", "test", tmp_path, size=14).images.shape == (40, 1, 14, 14)


def test_the_digits_are_for_testing_alone(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(MetaftError, match="all for testing, none to train"):
        catalog.load_images("mnist", "train", tmp_path)
    assert len(mnist.read("train", tmp_path)[0]) == 40


def test_absent_files_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAFT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MetaftError, match=r"t10k-images-idx3-ubyte\.gz"):
        mnist.read("test")


GOOD = idx(np.zeros((3, 2), np.uint8))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an idx file"),
        (b"\0\0\x0d\x02" + GOOD[4:], "not an idx file of bytes"),
        (b"\0\0\x08\xff" + GOOD[4:], "not an idx file of bytes"),
        (GOOD[:9], "ends within its header"),
        (GOOD[:-1], "declares 6 values and holds 5"),
        (GOOD + b"\0", "declares 6 values and holds more"),
        (b"\0\0\x08\x03" + b"\xff" * 12, r"declares \[4294967295, 4294967295, 4294967295\] values, more than"),
        (gzip.compress(GOOD, mtime=0)[:-9], "cannot be read"),
        (gzip.compress(GOOD, mtime=0)[:-8] + bytes(8), "cannot be read"),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(MetaftError, match=said) as error:
        mnist.read_idx(tmp_path / "f")
    assert "\n" not in str(error.value)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    # 200 MB of zeros behind a header that declares six values.
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=1) as file:
        file.write(GOOD)
        for _ in range(200):
            file.write(bytes(2**20))
    (tmp_path / "f").write_bytes(bomb.getvalue())
    tracemalloc.start()
    with pytest.raises(MetaftError, match="holds more"):
        mnist.read_idx(tmp_path / "f")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("t10k-images-idx3-ubyte", np.zeros((40, 28, 27), np.uint8), r"holds \[40, 28, 27\] values"),
        ("t10k-labels-idx1-ubyte", np.zeros(39, np.uint8), r"holds \[39\] labels for 40 images"),
        ("t10k-labels-idx1-ubyte", np.full(40, 10, np.uint8), "has a label 10"),
        ("t10k-labels-idx1-ubyte", np.ones(40, np.uint8), "has no digit 0"),
    ],
)
def test_what_is_not_mnist(tmp_path: Path, name: str, values: np.ndarray, said: str) -> None:
    write(tmp_path)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
    with pytest.raises(MetaftError, match=said):
        mnist.load("test", root=tmp_path)


def test_the_real_files_as_torchvision_reads_them(tmp_path: Path) -> None:
    root = real_root()
    found = mnist.where(root) if root else None
    if found is None:
        pytest.skip("METAFT_DATA holds no mnist")
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for path in found["test"]:
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    # torchvision wants the training part to be there too.
    for path in found["train"]:
        (raw / path.stem).write_bytes(b"")
    theirs = torchvision_module("torchvision.datasets.mnist").MNIST(str(tmp_path), train=False)
    images, labels = mnist.read("test", root)
    assert np.array_equal(images, theirs.data.numpy())
    assert np.array_equal(labels, theirs.targets.numpy())
