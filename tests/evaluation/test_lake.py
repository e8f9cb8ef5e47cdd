import codecs
import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from metaft.data import omniglot
from metaft.errors import MetaftError
from metaft.evaluation.lake import read_runs
from tests.data.drawings import pixels, png, real_root, write_folder, write_zip

RUNS = [f"run{run:02d}" for run in range(1, 21)]


def benchmark(draw=png):
    """Twenty runs of drawings, and the class of every item."""
    rng = np.random.default_rng(0)
    files, truth, seed = {}, np.stack([rng.permutation(20) for _ in RUNS]), 0
    for run, order in zip(RUNS, truth, strict=True):
        lines = []
        for i in range(20):
            seed += 2
            files[f"{run}/training/class{i + 1:02d}.png"] = draw(seed)
            files[f"{run}/test/item{i + 1:02d}.png"] = draw(seed + 1)
            lines.append(f"{run}/test/item{i + 1:02d}.png {run}/training/class{order[i] + 1:02d}.png")
        files[f"{run}/class_labels.txt"] = ("\n".join(rng.permutation(lines)) + "\n").encode()
    return files, torch.from_numpy(truth)


@pytest.fixture(scope="module")
def drawn():
    return benchmark()


def test_images_and_labels(drawn, tmp_path):
    files, truth = drawn
    batch = read_runs(write_folder(tmp_path, files), size=105)
    assert batch.support_x.shape == batch.query_x.shape == (20, 20, 1, 105, 105)
    assert batch.support_x.dtype == torch.float32
    assert batch.support_y.dtype == batch.query_y.dtype == torch.int64
    assert torch.equal(batch.query_y, truth)
    assert torch.equal(batch.support_y, torch.arange(20).expand(20, 20))
    ink = pixels(files["run07/training/class03.png"]).astype(np.float32)
    assert np.array_equal(batch.support_x[6, 2, 0].numpy(), ink)
    ink = pixels(files["run20/test/item20.png"]).astype(np.float32)
    assert np.array_equal(batch.query_x[19, 19, 0].numpy(), ink)


@pytest.mark.parametrize("prefix", ["", "all_runs/"])
def test_folder_and_zip_agree(drawn, tmp_path, prefix):
    extra = {prefix + "demo.py": b"x", "__MACOSX/run01/._x": b"x", "README": b"x"}
    files = {prefix + name: content for name, content in drawn[0].items()} | extra
    one = read_runs(write_folder(tmp_path / "folder", files))
    two = read_runs(write_zip(tmp_path / "runs.zip", files))
    assert one.query_x.shape == (20, 20, 1, 28, 28)
    assert all(torch.equal(a, b) for a, b in zip(one.tensors(), two.tensors(), strict=True))


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, b"\r\n"])
def test_labels_as_windows_writes_them(drawn, tmp_path, mark):
    files, truth = drawn
    written = {name: mark + text.replace(b"\n", b"\r\n") for name, text in files.items() if name.endswith(".txt")}
    assert torch.equal(read_runs(write_zip(tmp_path / "windows.zip", files | written)).query_y, truth)


LABELS = "run03/class_labels.txt"
LINE = "run03/test/item01.png run03/training/class02.png\n"


def drop(name):
    return lambda files: files.pop(name)


def put(name, content=b"x"):
    return lambda files: files.update({name: content})


def relabel(change):
    return lambda files: files.update({LABELS: change(files[LABELS].decode()).encode("latin-1")})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (drop("run05/test/item07.png"), ["run05/test/item07.png is missing"]),
        (drop("run05/training/class20.png"), ["run05/training/class20.png is missing"]),
        (drop(LABELS), [LABELS, "missing"]),
        (lambda f: [f.pop(name) for name in list(f) if name.startswith("run20/")], ["run20/", "missing"]),
        (lambda f: f.clear() or f.update({"x.txt": b""}), ["holds no folder run01"]),
        (put("run05/test/item21.png"), ["run05/test/item21.png does not belong"]),
        (put("run21/class_labels.txt"), ["run21/class_labels.txt does not belong"]),
        (put("copy/run01/class_labels.txt"), ["two places", "copy/"]),
        (put("run09/test/item02.png", b"not an image"), ["run09/test/item02.png", "not a readable PNG"]),
        (put("run09/test/item02.png", png(1, side=28)), ["run09/test/item02.png", "28×28"]),
        (relabel(lambda t: t + LINE), [LABELS, "line 21", "item01.png is given twice"]),
        (relabel(lambda t: "\n".join(t.splitlines()[1:])), [LABELS, "is missing"]),
        (relabel(lambda t: t.replace("item04", "item44")), [LABELS, "'run03/test/item44.png' is no item"]),
        (relabel(lambda t: t.replace("class04", "class40")), [LABELS, "class40.png' is no class"]),
        (relabel(lambda t: t.replace("class04", "class05")), [LABELS, "class05.png is given to two"]),
        (relabel(lambda t: t.replace("run03/test", "run04/test")), [LABELS, "line 1", "is no item of run03"]),
        (relabel(lambda t: "only-one-word\n" + t), [LABELS, "line 1", "only-one-word"]),
        (relabel(lambda t: "ÿ" + t), [LABELS, "not a text file"]),
    ],
)
@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_mistakes_are_named_in_one_line(drawn, tmp_path, spoil, words, write):
    files = dict(drawn[0])
    spoil(files)
    with pytest.raises(MetaftError) as caught:
        read_runs(write(tmp_path / "runs.zip", files))
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_absent_truncated_and_too_small(drawn, tmp_path):
    with pytest.raises(MetaftError, match="does not exist"):
        read_runs(tmp_path / "absent")
    path = write_zip(tmp_path / "runs.zip", drawn[0])
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(MetaftError, match="not a complete zip"):
        read_runs(path)
    with pytest.raises(MetaftError, match="8 to 105"):
        read_runs(path, size=3)


def test_prepared_like_the_evaluation_drawings(tmp_path, monkeypatch):
    """Runs made of Omniglot's own drawings hold the same small images as the data set."""
    root = real_root()
    path = root / "omniglot" / "images_evaluation.zip"
    if not path.is_file():
        pytest.skip("METAFT_DATA holds no images_evaluation.zip")
    with zipfile.ZipFile(path) as archive:
        names = sorted(archive.namelist())[:820]
        contents = [archive.read(name) for name in names]
    batch = read_runs(write_folder(tmp_path, benchmark(lambda seed: contents[seed])[0]))
    decoded = np.stack([np.asarray(Image.open(io.BytesIO(c)).convert("L")) < 128 for c in contents])
    small = omniglot.shrink(decoded, 28).float().mul(1 / 255)
    seeds = torch.arange(2, 802, 2).view(20, 20)
    assert torch.equal(batch.support_x, small[seeds])
    assert torch.equal(batch.query_x, small[seeds + 1])
