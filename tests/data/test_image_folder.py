"""Folders of class folders, decoded and divided, against Pillow and the folders themselves."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from metaft.data import catalog, class_lists, decode, image_folder
from metaft.data.images import LabelledImages
from metaft.errors import MetaftError


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METAFT_DATA", raising=False)
    return tmp_path / "cache"


def picture(seed, size=(20, 12), mode="RGB"):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


def class_folder(folder, images=3, suffix=".png", seed=0, **options):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(images):
        picture(seed * 100 + i, **options).save(folder / f"{i}{suffix}")
    return folder


def plain(path, size):
    """Independent of the reader: one image by Pillow."""
    image = Image.open(path).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_every_kind_of_file_is_decoded_in_order_and_made_square(tmp_path):
    root = tmp_path / "birds"
    kinds = "wren .png RGB, kite .JPG RGB, coot .bmp L, rook .gif P, teal .webp RGBA, swan .ppm RGB, "
    kinds += "tern .jpeg CMYK, crow .png 1"
    for i, kind in enumerate(kinds.split(", ")):
        name, suffix, mode = kind.split()
        class_folder(root / name, suffix=suffix, seed=i, mode=mode)
    (root / "wren" / "more").mkdir()
    picture(77).save(root / "wren" / "more" / "x.png")
    (root / "wren" / ".hidden.png").write_bytes(b"no image")
    (root / "wren" / "Thumbs.db").write_bytes(b"no image")
    (root / ".cache").mkdir()
    seen = set()
    for split in ("train", "val", "test"):
        held = image_folder.load(split, root=root, size=16)
        assert held.images.shape[1:] == (3, 16, 16)
        seen |= set(held.names)
        for c, name in enumerate(held.names):
            files = sorted(p for p in (root / name).rglob("*.*") if p.name[0] != "." and p.suffix != ".db")
            assert int(held.counts[c]) == len(files)
            start = int(held.starts[c])
            for i, file in enumerate(files):
                assert torch.equal(held.images[start + i], plain(file, 16))
    assert seen == {"wren", "kite", "coot", "rook", "teal", "swan", "tern", "crow"}


def test_the_cache_is_used_until_a_file_changes(tmp_path, monkeypatch):
    for name in "abc":
        class_folder(tmp_path / "d" / name, seed=ord(name))
    first = image_folder.load("train", root=tmp_path / "d", size=8)
    decoded = decode.decode
    monkeypatch.setattr(decode, "decode", lambda *a: pytest.fail("decoded again"))
    again = image_folder.load("train", root=tmp_path / "d", size=8)
    assert torch.equal(first.images, again.images)
    assert first.names == again.names
    monkeypatch.setattr(decode, "decode", decoded)
    picture(999).save(tmp_path / "d" / first.names[0] / "0.png")
    assert not torch.equal(first.images, image_folder.load("train", root=tmp_path / "d", size=8).images)


def test_classes_are_divided_by_folders_by_lists_or_by_a_seed(tmp_path):
    names = [f"c{i:02d}" for i in range(25)]
    for name in names:
        class_folder(tmp_path / "flat" / name, images=1)
    by_seed = image_folder.class_folders(tmp_path / "flat", 0)
    assert [len(by_seed[split]) for split in ("train", "val", "test")] == [16, 4, 5]
    assert sorted(name for part in by_seed.values() for name in part) == names
    assert image_folder.class_folders(tmp_path / "flat", 0) == by_seed
    assert image_folder.class_folders(tmp_path / "flat", 1) != by_seed
    for split, listed in (("train", ["c03", "", "# a remark", "c01"]), ("val", ["c20"]), ("test", ["c00", "c05"])):
        (tmp_path / "flat" / f"{split}.txt").write_text("\n".join(listed))
    assert image_folder.load("train", root=tmp_path / "flat", size=8).names == ("c03", "c01")
    assert image_folder.load("test", root=tmp_path / "flat", size=8).names == ("c00", "c05")
    for split, name in (("train", "x"), ("val", "y"), ("test", "z")):
        class_folder(tmp_path / "deep" / split / name, images=1)
    assert image_folder.load("val", root=tmp_path / "deep", size=8).names == ("y",)


def test_the_division_by_seed_is_the_same_everywhere():
    division = class_lists.by_seed(["d", "b", "a", "c", "e"], 0)
    assert division == class_lists.by_seed(["a", "b", "c", "d", "e"], 0)
    assert division == {"train": ("a", "c", "d"), "val": ("b",), "test": ("e",)}


def damaged(folder):
    whole = (folder / "a" / "0.png").read_bytes()
    (folder / "a" / "0.png").write_bytes(whole[: len(whole) // 2])


def sixteen_bit(folder):
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(folder / "a" / "0.png")


def bomb(folder):
    Image.new("1", (6000, 6000)).save(folder / "b" / "0.png")


def lists(folder, **named):
    for split, names in named.items():
        (folder / f"{split}.txt").write_text("\n".join(names))


MISTAKES = {
    "truncated": (damaged, r"a/0.png cannot be read as an image"),
    "text": (lambda f: (f / "c" / "1.png").write_text("hello"), r"c/1.png cannot be read as an image"),
    "16 bits": (sixteen_bit, r"a/0.png has more than 8 bits a channel"),
    "bomb": (bomb, r"b/0.png has 6000×6000 pixels"),
    "empty class": (lambda f: (f / "d").mkdir(), r"class folder .*d holds no image"),
    "two classes": (lambda f: (f / "c").rename(f.parent / "gone"), "2 class folders in .* at least 3"),
    "one list": (lambda f: lists(f, train="a"), r"cannot read .*val.txt"),
    "empty list": (lambda f: lists(f, train="a", val="", test="c"), r"val.txt names no class"),
    "unknown class": (lambda f: lists(f, train="a", val="b", test="x"), r"no folder for the listed class 'x'"),
    "list overlap": (lambda f: lists(f, train="ab", val="b", test="c"), r"class 'b' is in both train and val"),
    "listed twice": (lambda f: lists(f, train="aa", val="b", test="c"), r"class 'a' is twice in train"),
    "half split": (lambda f: (f / "train").mkdir(), r"a folder 'train' but no 'val'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line_naming_the_file_or_class(tmp_path, name, cache_folder):
    folder = tmp_path / "d"
    for letter in "abc":
        class_folder(folder / letter, seed=ord(letter))
    spoil, said = MISTAKES[name]
    spoil(folder)
    with pytest.raises(MetaftError, match=said) as error:
        [image_folder.load(split, root=folder, size=8) for split in ("train", "val", "test")]
    assert "\n" not in error.value.message
    assert str(error.value)


def test_a_class_in_two_split_folders_is_a_leak(tmp_path):
    for split, names in (("train", "abc"), ("val", "d"), ("test", "eb")):
        for name in names:
            class_folder(tmp_path / split / name, images=1)
    with pytest.raises(MetaftError, match=r"class 'b' is in both train and test.*divide classes"):
        image_folder.load("train", root=tmp_path, size=8)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs the folder of class folders: give it as root=PATH"),
        ({"root": "absent"}, "cannot read the folder absent"),
        ({"root": "empty"}, "has no class folders"),
        ({"root": "empty", "size": 4}, "whole number from 8 to 512"),
        ({"root": "empty", "sice": 4}, "did you mean 'size'"),
    ],
)
def test_bad_arguments(tmp_path, monkeypatch, options, said, cache_folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MetaftError, match=said):
        catalog.load_images("folder", "train", **options)
    assert not cache_folder.exists()


def test_grey_and_colour_turn_into_each_other():
    pixels = torch.randint(0, 256, (2000, 3, 4, 4), dtype=torch.uint8)
    held = LabelledImages(pixels, torch.tensor([1000, 1000]), ("a", "b"))
    grey = held.with_channels(1)
    for i in (0, 1023, 1024, 1999):
        pillow = np.array(Image.fromarray(pixels[i].permute(1, 2, 0).numpy()).convert("L"), dtype=int)
        assert np.abs(grey.images[i, 0].numpy().astype(int) - pillow).max() <= 1
    assert torch.equal(grey.with_channels(3).images, grey.images.expand(-1, 3, -1, -1))
    assert held.with_channels(3) is held
    with pytest.raises(MetaftError, match="1 and 3 turn into each other"):
        held.with_channels(2)


def test_decoding_stops_at_the_first_bad_file(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    class_folder(tmp_path, images=30)
    (tmp_path / "3.png").write_bytes(b"")
    with pytest.raises(MetaftError, match=r"3\.png"):
        decode.decode(sorted(tmp_path.glob("*.png")), 8)
    with pytest.raises(MetaftError, match="too much for memory"):
        decode.decode([tmp_path / "0.png"] * 100_000, 512)


@pytest.mark.parametrize("side", [6_000, 10_000])
def test_an_image_of_too_many_pixels_is_refused_without_a_warning(tmp_path, side, recwarn):
    Image.new("1", (side, side)).save(tmp_path / "large.png")
    with pytest.raises(MetaftError, match=f"large.png has {side}×{side} pixels, more than .*; make it smaller"):
        decode.decode([tmp_path / "large.png"], 84)
    assert not recwarn.list
