import pytest
import torch

from metaft.data import catalog, splits
from metaft.data.glyphs import load as load_glyphs
from metaft.errors import MetaftError
from tests.data.drawings import real_root


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_entry_is_told_in_full():
    for name, info in catalog.DATASETS.items():
        assert info.name == name
        assert all("\n" not in text and text for text in (info.description, info.counts, info.licence))
    assert catalog.DATASETS["omniglot"].schemes == tuple(splits.SCHEMES)
    assert set(catalog.DATASETS["omniglot"].options) == {"scheme", "size", "rotations"}
    assert set(catalog.DATASETS["glyphs"].options) == {"alphabets", "seed", "size", "rotations"}
    assert catalog.DATASETS["sinusoid"].options == {}


def test_where(tmp_path, monkeypatch):
    monkeypatch.delenv("METAFT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert catalog.DATASETS["omniglot"].where(None) is None
    for part in splits.PARTS:
        (tmp_path / f"images_{part}").mkdir()
    assert str(tmp_path / "images_evaluation") in catalog.DATASETS["omniglot"].where(tmp_path)
    assert catalog.DATASETS["glyphs"].where(None) == "built in"


def test_where_real():
    assert "images_background" in catalog.DATASETS["omniglot"].where(real_root())


@pytest.mark.parametrize(
    ("name", "split", "options", "word"),
    [
        ("omniglott", "train", {}, "did you mean 'omniglot'"),
        ("sinusoid", "train", {}, "no images"),
        ("omniglot", "validation", {}, "unknown split 'validation'"),
        ("glyphs", "tran", {}, "did you mean 'train'"),
        ("omniglot", "train", {"rotation": True}, "did you mean 'rotations'"),
        ("glyphs", "train", {"scheme": "vinyals"}, "unknown option 'scheme' of data set glyphs"),
        ("glyphs", "train", {"alphabets": 0}, "alphabets is 0"),
        ("glyphs", "train", {"seed": "../x"}, "seed"),
    ],
)
def test_mistakes(name, split, options, word, cache_folder):
    with pytest.raises(MetaftError, match=word):
        catalog.load_images(name, split, **options)
    assert not cache_folder.exists()


def test_glyphs_are_drawn_once(monkeypatch):
    drawing = {"alphabets": 1, "seed": 3, "size": 16}
    expected = load_glyphs("val", **drawing)
    options = drawing | {"rotations": False}
    first = catalog.load_images("glyphs", "val", **options)
    monkeypatch.setattr("metaft.data.glyphs.load", lambda *a, **k: pytest.fail("drawn again"))
    second = catalog.load_images("glyphs", "val", **options)
    for images in (first, second):
        assert torch.equal(images.images, expected.images)
        assert images.names == expected.names
    turned = catalog.load_images("glyphs", "val", **drawing)
    assert turned.classes == 4 * expected.classes
    assert len(set(turned.names)) == turned.classes
    with pytest.raises(pytest.fail.Exception, match="drawn again"):
        catalog.load_images("glyphs", "val", **options | {"seed": 4})
