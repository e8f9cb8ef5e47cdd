import hashlib
import io
import logging
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from metaft.data import archive, omniglot, splits
from metaft.data.compat import torchvision_module
from metaft.errors import MetaftError
from tests.data.drawings import ToyOmniglot, forget, pixels, png, real_root, served, write_folder, write_zip


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """Omniglot's reader in a world of three alphabets, away from the machine's own data and network."""
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("METAFT_OFFLINE", "1")
    monkeypatch.delenv("METAFT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    forget()  # what another test has read of the real one
    yield ToyOmniglot(monkeypatch)
    monkeypatch.undo()
    forget()


def alphas(root, **options):
    """Load the training characters, unrotated at full size."""
    return omniglot.load("train", root=root, size=105, rotations=False, **options)


@pytest.mark.parametrize("folder", ["", "omniglot", "omniglot-py"])
@pytest.mark.parametrize("packing", ["zips", "folders"])
def test_every_place_and_packing_gives_the_pixels(toy, tmp_path, folder, packing):
    getattr(toy, packing)(tmp_path / "root" / folder)
    images = alphas(tmp_path / "root")
    assert images.names == ("Alpha/character01", "Alpha/character02")
    assert images.counts.tolist() == [20, 20]
    drawn = [toy.parts["background"][name] for name in sorted(toy.parts["background"]) if "Alpha" in name]
    expected = np.stack([pixels(content) for content in drawn]) * np.uint8(255)
    assert torch.equal(images.images[:, 0], torch.from_numpy(expected))


def test_zips_packed_anew_are_accepted(toy, tmp_path):
    junk = {"__MACOSX/images_background/._0007_01.png": b"x", ".DS_Store": b"x", "README.txt": b"x" * 10**5}
    root = tmp_path / "root"
    write_zip(root / "images_background.zip", junk | toy.parts["background"], compression=zipfile.ZIP_STORED)
    write_zip(root / "images_evaluation.zip", toy.parts["evaluation"], "a/b/images_evaluation/")
    assert alphas(root).classes == 2


def test_one_part_may_be_a_zip_and_the_other_a_folder(toy, tmp_path):
    write_zip(tmp_path / "images_background.zip", toy.parts["background"])
    write_folder(tmp_path / "omniglot" / "images_evaluation", toy.parts["evaluation"])
    assert alphas(tmp_path).classes == 2


def test_greyscale_and_colour_files_hold_the_same_ink(toy, tmp_path):
    files = toy.parts["background"]
    for mode, name in zip(("L", "RGB", "RGBA"), sorted(files), strict=False):
        out = io.BytesIO()
        Image.open(io.BytesIO(files[name])).convert(mode).save(out, "PNG")
        files[name] = out.getvalue()
    assert alphas(toy.folders(tmp_path)).classes == 2


def test_small_images_are_pillows_scaling_of_white_ink(toy, tmp_path):
    images = omniglot.load("test", root=toy.zips(tmp_path), rotations=False)
    content = toy.parts["evaluation"]["Gamma/character02/0010_03.png"]
    white = Image.fromarray(pixels(content).astype(np.uint8) * 255)
    expected = np.asarray(white.resize((28, 28), Image.Resampling.LANCZOS))
    assert np.array_equal(images.images[22, 0].numpy(), expected)


def test_rotations_are_classes_of_the_split(toy, tmp_path):
    root = toy.zips(tmp_path)
    plain = omniglot.load("val", root=root, rotations=False)
    turned = omniglot.load("val", root=root)
    assert turned.classes == 4 * plain.classes
    assert turned.names[3] == "Beta/character01/rot090"
    assert torch.equal(turned.images[60:120], plain.images.rot90(1, (-2, -1)))


class TestDamage:
    """Each damaged source gives one line that names the file."""

    def refused(self, root, *words):
        with pytest.raises(MetaftError) as caught:
            alphas(root)
        message = str(caught.value)
        assert "\n" not in message
        for word in words:
            assert word in message
        return message

    NAME = "Beta/character02/0002_07.png"

    @pytest.mark.parametrize("keep", [0, 10, 0.3, 0.7, 0.999])
    def test_truncated_zip(self, toy, tmp_path, keep):
        path = toy.zips(tmp_path) / "images_background.zip"
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
        self.refused(tmp_path, "images_background.zip", "not a complete zip")

    def test_bit_flip_inside_a_zip(self, toy, tmp_path):
        path = toy.zips(tmp_path, compression=zipfile.ZIP_STORED) / "images_background.zip"
        whole = bytearray(path.read_bytes())
        at = whole.index(toy.parts["background"][self.NAME]) + 60
        whole[at] ^= 1
        path.write_bytes(whole)
        self.refused(tmp_path, "images_background.zip", self.NAME)

    @pytest.mark.parametrize("packing", ["zips", "folders"])
    def test_missing_drawing(self, toy, tmp_path, packing):
        del toy.parts["background"][self.NAME]
        self.refused(getattr(toy, packing)(tmp_path), "images_background", self.NAME, "missing")

    def test_missing_character_and_empty_folder(self, toy, tmp_path):
        files = toy.parts["evaluation"]
        toy.parts["evaluation"] = {name: c for name, c in files.items() if "character02" not in name}
        self.refused(toy.folders(tmp_path / "a"), "images_evaluation", "Gamma/character02", "20 drawings, expected 40")
        (tmp_path / "b" / "images_background").mkdir(parents=True)
        (tmp_path / "b" / "images_evaluation").mkdir()
        self.refused(tmp_path / "b", "Alpha/character01/0007_01.png is missing")

    def test_surplus_drawing(self, toy, tmp_path):
        toy.parts["background"]["Beta/character02/0002_21.png"] = png(0)
        self.refused(toy.folders(tmp_path), "Beta/character02/0002_21.png", "not a drawing of Omniglot")

    def test_drawing_twice(self, toy, tmp_path):
        toy.parts["background"]["copy/" + self.NAME] = png(0)
        self.refused(toy.zips(tmp_path), self.NAME, "twice")

    def test_another_drawing(self, toy, tmp_path):
        toy.parts["background"][self.NAME] = png(12345)
        self.refused(toy.folders(tmp_path), "images_background", "Beta")

    def test_swapped_drawings(self, toy, tmp_path):
        files = toy.parts["background"]
        other = self.NAME.replace("_07", "_08")
        files[self.NAME], files[other] = files[other], files[self.NAME]
        self.refused(toy.zips(tmp_path), "Beta")

    @pytest.mark.parametrize(
        ("content", "word"),
        [
            (b"not an image", "not a readable PNG"),
            (b"", "not a readable PNG"),
            (png(1)[:80], "not a readable PNG"),
            (png(1, side=106), "106×106"),
            (png(1, side=3000), "3000×3000"),
            (b"x" * (archive.MAX_BYTES + 1), "larger than"),
        ],
    )
    @pytest.mark.parametrize("packing", ["zips", "folders"])
    def test_not_such_an_image(self, toy, tmp_path, content, word, packing):
        toy.parts["background"][self.NAME] = content
        self.refused(getattr(toy, packing)(tmp_path), self.NAME, word)

    def test_a_jpeg_by_the_name_of_png(self, toy, tmp_path):
        out = io.BytesIO()
        Image.open(io.BytesIO(png(1))).convert("L").save(out, "JPEG")
        toy.parts["background"][self.NAME] = out.getvalue()
        self.refused(toy.zips(tmp_path), self.NAME, "PNG")

    def test_a_source_that_breaks_after_it_was_cached(self, toy, tmp_path):
        root = toy.folders(tmp_path)
        alphas(root)
        (root / "images_background" / self.NAME).write_bytes(b"broken")
        forget()
        self.refused(root, self.NAME)

    def test_absent_says_what_to_put_where(self, toy, tmp_path):
        message = self.refused(tmp_path / "root", "METAFT_OFFLINE")
        assert "put images_background.zip and images_evaluation.zip (or the folders unpacked from them) " in message
        assert str(tmp_path / "root" / "omniglot") in message
        write_zip(tmp_path / "root" / "images_background.zip", toy.parts["background"])
        assert "put images_evaluation.zip (or" in self.refused(tmp_path / "root")
        assert not (tmp_path / "root" / "omniglot").exists()

    def test_dangling_link(self, toy, tmp_path):
        root = toy.folders(tmp_path)
        (root / "images_background" / self.NAME).unlink()
        (root / "images_background" / self.NAME).symlink_to(tmp_path / "nowhere")
        self.refused(root, self.NAME)

    def test_options(self, toy, tmp_path):
        for options, word in (
            ({"split": "trian"}, "did you mean 'train'"),
            ({"scheme": "vinyal"}, "did you mean 'vinyals'"),
            ({"size": 7}, "8 to 105"),
            ({"size": 106}, "8 to 105"),
            ({"rotations": "no"}, "rotations"),
        ):
            with pytest.raises(MetaftError, match=word):
                omniglot.load(**{"split": "train", "root": tmp_path} | options)


def test_decoded_once(toy, tmp_path, monkeypatch, caplog):
    root = toy.zips(tmp_path / "root")
    first = omniglot.load("train", root=root)
    monkeypatch.setattr(omniglot, "decode", lambda parts: pytest.fail("decoded again"))
    for size in (28, 32):
        forget()
        assert omniglot.load("train", root=root, size=size).classes == first.classes
    forget()
    monkeypatch.undo()


def test_a_damaged_cache_is_built_again(toy, tmp_path, caplog):
    root = toy.zips(tmp_path / "root")
    first = omniglot.load("train", root=root)
    files = sorted((tmp_path / "cache").glob("*.safetensors"))
    assert len(files) == 2
    for file in files:
        content = bytearray(file.read_bytes())
        content[-5] ^= 4
        file.write_bytes(content)
    forget()
    with caplog.at_level(logging.WARNING):
        again = omniglot.load("train", root=root)
    assert torch.equal(again.images, first.images)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    caplog.clear()
    forget()
    omniglot.load("train", root=root)
    assert caplog.records == []


def test_what_is_missing_is_downloaded_by_md5_into_the_first_root(toy, tmp_path, monkeypatch):
    toy.zips(tmp_path / "server")
    official = torchvision_module("torchvision.datasets.omniglot").Omniglot
    md5s = {p.stem: hashlib.md5(p.read_bytes()).hexdigest() for p in (tmp_path / "server").iterdir()}
    monkeypatch.setattr(official, "zips_md5", md5s)
    root = tmp_path / "root"
    own = write_zip(root / "images_background.zip", toy.parts["background"])
    before = own.read_bytes()
    with served(tmp_path / "server", monkeypatch) as address:
        monkeypatch.setattr(official, "download_url_prefix", address)
        assert alphas(root).classes == 2
    assert [p.name for p in (root / "omniglot").iterdir()] == ["images_evaluation.zip"]
    assert own.read_bytes() == before


@pytest.fixture(scope="module")
def real_once(tmp_path_factory):
    """The data set itself, where METAFT_DATA has it: its root, what was decoded from it, a folder for its cache."""
    root = real_root()
    forget()
    return root, omniglot.decode(omniglot.where(root)), tmp_path_factory.mktemp("cache")


@pytest.fixture
def real(real_once, monkeypatch):
    """Its root and drawings, while one test has them: others of this module read what they have made themselves."""
    root, decoded, kept = real_once
    forget()
    monkeypatch.setenv("METAFT_CACHE", str(kept))
    monkeypatch.setattr(omniglot, "decode", lambda parts: decoded)
    yield root, np.unpackbits(decoded.tensors["bits"].numpy(), axis=1, count=105 * 105)
    monkeypatch.undo()
    forget()


def test_real_pixels(real):
    root, drawings = real
    drawings = drawings.reshape(1623, 20, 105, 105)
    names = splits.characters()
    # Two drawings that are identical in the original.
    braille = drawings[names.index("Braille/character01")]
    assert np.array_equal(braille[2], braille[18])
    for path in omniglot.where(root):
        if path.suffix != ".zip":
            pytest.skip("compared with the zips only")
        with zipfile.ZipFile(path) as file:
            for name in sorted(file.namelist())[1::997]:
                part, alphabet, character, drawing = name.split("/")
                ours = drawings[names.index(f"{alphabet}/{character}"), int(drawing[5:7]) - 1]
                assert np.array_equal(ours, pixels(file.read(name))), (part, name)


def test_real_splits_hold_the_known_counts_and_the_ink(real):
    root, drawings = real
    held = [omniglot.load(split, root=root, rotations=False) for split in splits.SPLITS]
    assert [images.classes for images in held] == [792, 172, 659]
    assert all((images.counts == 20).all() and images.images.shape[1:] == (1, 28, 28) for images in held)
    assert set().union(*(images.names for images in held)) == set(splits.characters())
    ink = torch.cat([images.images for images in held]).float().mean() / 255
    # Lanczos overshoots beside a stroke and is clipped at no ink: a little more in all, never less.
    assert 0 <= ink / drawings.mean() - 1 < 0.06
