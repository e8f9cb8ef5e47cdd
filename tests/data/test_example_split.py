"""Examples divided: disjoint, complete, every class in its share, the same for the same seed."""

import gzip

import pytest
import torch

from metaft.data import catalog, example_split
from metaft.data.example_split import ExampleSplit, divide, load_example_split
from metaft.data.images import LabelledImages
from metaft.errors import MetaftError
from tests.data.test_mnist import idx, write

COUNTS = torch.tensor([10, 20, 7])


def marked():
    """Example i is an image of two pixels that hold i."""
    values = torch.arange(int(COUNTS.sum()), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 1, 2).contiguous()
    return LabelledImages(values, COUNTS, ("a", "b", "c"))


def told(images):
    return images.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(("val", "test", "expected"), [
    (0.2, 0.3, ([2, 4, 1], [3, 6, 2])), (1, 2, ([1, 1, 1], [2, 2, 2])), (2.0, 0, ([2, 2, 2], [0, 0, 0])),
])  # fmt: skip
def test_parts_are_disjoint_complete_and_in_every_class(val, test, expected):
    parts = divide(marked(), val=val, test=test, seed=3)
    train, held_out, tested = (set(told(part)) for part in parts)
    assert not train & held_out
    assert not train & tested
    assert not held_out & tested
    assert train | held_out | tested == set(range(37))
    assert [parts[1].counts.tolist(), parts[2].counts.tolist()] == list(expected)
    truth = torch.repeat_interleave(torch.arange(3), COUNTS)
    for part in parts:
        labels = torch.repeat_interleave(torch.arange(3), part.counts)
        assert torch.equal(truth[told(part)], labels)  # nobody changed class


def test_a_seed_decides():
    first, again, other = (divide(marked(), seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, again, strict=True))
    assert told(first[1]) != told(other[1])


def test_every_example_is_equally_often_held_out():
    drawn = torch.zeros(37)
    for seed in range(300):
        drawn[told(divide(marked(), val=0.2, test=0, seed=seed)[1])] += 1
    share = (drawn / 300).split(COUNTS.tolist())
    for part, expected in zip(share, (0.2, 0.2, 1 / 7), strict=True):
        assert float((part - expected).abs().max()) < 4.5 * (0.2 * 0.8 / 300) ** 0.5


@pytest.mark.parametrize(("given", "message"), [
    ({"val": -0.1}, "val must be a share in .* not -0.1"), ({"test": 1.5}, "test must be a share"),
    ({"val": float("nan")}, "not nan"), ({"val": True}, "not True"), ({"seed": -1}, "a seed should be"),
    ({"val": 4, "test": 3}, "class 'c' has 7 examples: val = 4 and test = 3 leave none to train"),
    ({"val": 0.05}, "class 'a' has 10 examples: .* leave none to val"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises(MetaftError, match=message):
        divide(marked(), **given)


def test_the_digest_is_of_pixels_classes_and_their_division():
    parts = divide(marked())
    split = ExampleSplit(*parts)
    assert split.digest == ExampleSplit(*divide(marked())).digest
    assert split.digest != ExampleSplit(*divide(marked(), seed=1)).digest
    assert split.digest != ExampleSplit(parts[0], parts[2], parts[1]).digest
    changed = marked()
    changed.images[0, 0, 0, 1] += 1
    assert changed.digest != marked().digest
    renamed = LabelledImages(marked().images, COUNTS, ("a", "b", "d"))
    assert renamed.digest != marked().digest
    with pytest.raises(MetaftError, match="the same classes"):
        ExampleSplit(parts[0], parts[1], LabelledImages(parts[2].images, parts[2].counts, ("a", "b", "d")))


def test_mnist_keeps_its_official_test(tmp_path):
    made = write(tmp_path, count=60)
    split = load_example_split("mnist", val=2, root=tmp_path)
    assert [len(part.images) for part in (split.train, split.val, split.test)] == [40, 20, 60]
    test = catalog.load_images("mnist", "test", tmp_path)
    assert torch.equal(split.test.images, test.images)
    both = torch.cat([split.train.images, split.val.images])[:, 0]
    labels = made["train-labels-idx1-ubyte"]
    assert sorted(both.sum((1, 2)).tolist()) == sorted(made["train-images-idx3-ubyte"].sum((1, 2)).tolist())
    for digit in range(10):
        of_digit = {image.tobytes() for image in made["train-images-idx3-ubyte"][labels == digit]}
        start = int(split.train.starts[digit])
        assert {image[0].numpy().tobytes() for image in split.train.images[start : start + 4]} <= of_digit
    with pytest.raises(MetaftError, match="unknown option 'sise'"):
        load_example_split("mnist", root=tmp_path, sise=14)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels % 9)))
    with pytest.raises(MetaftError, match="train part has no digit 9"):
        load_example_split("mnist", root=tmp_path)


def test_rotations_of_a_drawing_stay_together(monkeypatch):
    drawings = torch.randint(0, 256, (30, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = LabelledImages(drawings, torch.tensor([10, 20]), ("a", "b"))
    asked = {}

    def load(name, split, root, **options):
        asked.update(options, split=split)
        return plain.with_rotations() if options["rotations"] else plain

    monkeypatch.setattr(example_split.catalog, "load_images", load)
    split = load_example_split("omniglot", classes="train")
    assert asked == {"rotations": False, "split": "train"}
    assert split.train.classes == 8
    upright = {split.train.images[i].numpy().tobytes() for i in range(split.train.images.shape[0])}
    for part in (split.val, split.test):
        for turns in range(4):
            turned = torch.rot90(part.images, turns, (-2, -1))
            assert not upright & {image.numpy().tobytes() for image in turned.contiguous()}
    assert load_example_split("omniglot", rotations=False).train.classes == 2
