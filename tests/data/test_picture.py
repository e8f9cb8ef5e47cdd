"""Images as viewers show them: turned by EXIF, laid on white, of any format; and those that show nothing."""

import io
import logging
import os

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from metaft.data import cache, catalog, cifar_fs, decode, image_folder, mini_imagenet
from metaft.data.archive import open_files
from metaft.data.blank import plain
from metaft.data.class_lists import Published
from metaft.errors import MetaftError
from tests.data.drawings import write_zip

SIDE = 16
T = Image.Transpose
TURNS = {
    1: None,
    2: T.FLIP_LEFT_RIGHT,
    3: T.ROTATE_180,
    4: T.FLIP_TOP_BOTTOM,
    5: T.TRANSPOSE,
    6: T.ROTATE_270,
    7: T.TRANSVERSE,
    8: T.ROTATE_90,
}


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METAFT_DATA", raising=False)
    return tmp_path / "cache"


def corners(side=SIDE):
    """Four quarters of four colours: every turn and mirroring looks different."""
    image = Image.new("RGB", (side, side), (250, 250, 10))
    for box, colour in (((0, 0, 8, 8), (250, 0, 0)), ((8, 0, 16, 8), (0, 250, 0)), ((0, 8, 8, 16), (0, 0, 250))):
        image.paste(colour, tuple(x * side // 16 for x in box))
    return image


def pixels(image):
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def save_oriented(path, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    corners().save(path, exif=exif, **options)
    return path


def turned(orientation):
    turn = TURNS[orientation]
    return pixels(corners() if turn is None else corners().transpose(turn))


def near(one, other, most=40):
    return (one.int() - other.int()).abs().float().mean() < most


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".jpg", {"quality": 95}), (".png", {}), (".webp", {"lossless": True}), (".tif", {})],
)
def test_all_eight_orientations_are_turned_in_every_format_that_has_them(tmp_path, suffix, options, orientation):
    file = save_oriented(tmp_path / f"a{suffix}", orientation, **options)
    found = decode.decode([file], SIDE)[0]
    assert near(found, turned(orientation), 10)
    assert all(not near(found, turned(other), 10) for other in TURNS if other != orientation)


def test_every_reader_turns_images(tmp_path, monkeypatch):
    """A folder, miniImageNet in class folders and in one folder, CIFAR-FS's folders."""
    for name in "abc":
        save_oriented(tmp_path / "own" / name / "0.jpg", 6, quality=95)
    held = image_folder.load("train", root=tmp_path / "own", size=SIDE)
    assert near(held.images[0], turned(6), 10)
    names = {"train": ("n00000001",), "val": ("n00000002",), "test": ("n00000003",)}
    own = Published(names, dict.fromkeys(["n00000001", "n00000002", "n00000003"], 1), {})
    monkeypatch.setattr(mini_imagenet, "published", lambda name: own)
    monkeypatch.setattr(mini_imagenet, "_compare", lambda files: None)
    monkeypatch.setattr(cifar_fs, "published", lambda name: own)
    for number in range(1, 4):
        save_oriented(tmp_path / "flat" / "images" / f"n0000000{number}00000001.jpg", 6, quality=95)
        save_oriented(tmp_path / "deep" / f"n0000000{number}" / "1.jpg", 6, quality=95)
        save_oriented(tmp_path / "cifar" / "cifar-fs" / "data" / f"n0000000{number}" / "1.png", 6)
    for name, root in (("mini-imagenet", "flat"), ("mini-imagenet", "deep"), ("cifar-fs", "cifar")):
        held = catalog.load_images(name, "test", root=tmp_path / root, size=SIDE)
        assert near(held.images[0], turned(6), 10), (name, root)


def test_an_omniglot_drawing_is_turned_and_laid_on_white(tmp_path):
    drawn = Image.new("L", (105, 105), 255)
    ImageDraw.Draw(drawn).rectangle((0, 0, 50, 20), fill=0)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {}
    for name, image, options in (
        ("turned.png", drawn, {"exif": exif}),
        ("clear.png", Image.merge("LA", (Image.new("L", drawn.size), drawn.point(lambda v: 255 - v))), {}),
        ("blank.png", Image.new("LA", drawn.size, (0, 0)), {}),
        ("white.png", Image.new("L", drawn.size, 255), {}),
    ):
        out = io.BytesIO()
        image.save(out, "PNG", **options)
        files[name] = out.getvalue()
    ink = np.asarray(drawn) < 128
    with open_files(write_zip(tmp_path / "z.zip", files)) as held:
        assert (held.ink("turned.png") == (np.asarray(drawn.transpose(T.ROTATE_270)) < 128)).all()
        assert (held.ink("clear.png") == ink).all()
        with pytest.raises(MetaftError, match=r"blank.png is transparent, and laid on white nothing is left"):
            held.ink("blank.png")
        with pytest.raises(MetaftError, match=r"white.png holds no drawing, all of it is ground"):
            held.ink("white.png")


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_there_is_not_leaves_the_image_as_it_is(tmp_path, orientation, recwarn):
    assert near(decode.decode([save_oriented(tmp_path / "a.png", orientation)], SIDE)[0], turned(1), 1)


def test_damaged_exif_leaves_the_image_as_it_is(tmp_path, recwarn):
    path = tmp_path / "a.jpg"
    corners().save(
        path, quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x63\xff\xff\xff\xff\xff\xff\xff\xff"
    )
    assert near(decode.decode([path], SIDE)[0], turned(1), 10)
    assert not recwarn.list


def test_a_cache_of_unturned_images_is_not_used(tmp_path):
    for name in "abc":
        save_oriented(tmp_path / "own" / name / "0.jpg", 6, quality=95)
    files = image_folder.files_of(image_folder.class_folders(tmp_path / "own", 0)["train"])
    old = f"folder-{SIDE}-{image_folder._fingerprint(files)}"
    unturned = decode.decode([save_oriented(tmp_path / "0.jpg", 1, quality=95)], SIDE)
    cache.cached_images(old, lambda: image_folder.LabelledImages(unturned, torch.tensor([1]), tuple(files)))
    assert near(image_folder.load("train", root=tmp_path / "own", size=SIDE).images[0], turned(6), 10)


DRAWN = Image.new("L", (SIDE, SIDE), 0)
ImageDraw.Draw(DRAWN).rectangle((2, 2, 7, 12), fill=255)


def on_transparent(mode, colour=(0, 0, 0)):
    """A rectangle on a transparent ground, in a mode that has transparency."""
    rgba = Image.merge("RGBA", (*Image.new("RGB", DRAWN.size, colour).split(), DRAWN))
    if mode == "P":
        indexed = DRAWN.point(lambda v: 1 if v else 0).convert("P")
        indexed.putpalette([*(0, 0, 0), *colour])
        return indexed, {"transparency": 0}
    if mode in ("1", "L", "RGB"):
        ground = {"1": 1, "L": 77, "RGB": (9, 9, 9)}[mode]
        image = Image.new(mode, DRAWN.size, ground)
        image.paste({"1": 0, "L": colour[0], "RGB": colour}[mode], mask=DRAWN)
        return image, {"transparency": ground}
    return rgba.convert(mode), {}


@pytest.mark.parametrize("colour", [(0, 0, 0), (200, 30, 90)])
@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *((mode, ".png") for mode in ("RGBA", "LA", "P", "1", "L", "RGB")),
        *(("P", ".gif"), ("RGBA", ".webp"), ("RGBA", ".tif"), ("RGBA", ".tga"), ("RGBA", ".ico")),
    ],
)
def test_what_is_drawn_on_transparent_ground_is_laid_on_white(tmp_path, mode, suffix, colour):
    image, options = on_transparent(mode, colour)
    if suffix == ".webp":
        options["lossless"] = True
    image.save(tmp_path / f"a{suffix}", **options)
    ink = torch.from_numpy(np.asarray(DRAWN) > 0)
    grey = mode in ("LA", "1", "L")
    expected = (image.convert("RGB").getpixel((4, 4))) if grey else colour
    found = decode.decode([tmp_path / f"a{suffix}"], SIDE)[0]
    assert (found[:, ~ink] == 255).all()
    assert (found[:, ink] == torch.tensor(expected, dtype=torch.uint8)[:, None]).all()


def test_half_transparent_pixels_are_mixed_with_white(tmp_path):
    image = Image.new("RGBA", (SIDE, SIDE), (100, 0, 0, 255))
    image.putpixel((3, 4), (0, 0, 0, 128))
    image.save(tmp_path / "a.png")
    found = decode.decode([tmp_path / "a.png"], SIDE)[0]
    assert found[:, 4, 3].tolist() == [127, 127, 127]
    assert found[:, 0, 0].tolist() == [100, 0, 0]


def test_the_first_picture_of_an_animation_is_laid_on_white(tmp_path):
    first, _ = on_transparent("P")
    second = Image.new("P", DRAWN.size, 1)
    second.putpalette([0, 0, 0, 255, 0, 0])
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second], transparency=0, disposal=2)
    found = decode.decode([tmp_path / "a.gif"], SIDE)[0]
    assert (found[0] == torch.from_numpy(255 - np.asarray(DRAWN))).all()


def blank(kind):
    if kind == "white on transparent":
        return on_transparent("RGBA", (255, 255, 255))[0], {}
    if kind == "white on transparent, with a palette":
        return on_transparent("P", (255, 255, 255))
    if kind == "grey and alpha":
        return Image.merge("LA", (Image.new("L", DRAWN.size, 255), DRAWN)), {}
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)
    noise[..., 3] = 0
    if kind == "wholly transparent":
        return Image.fromarray(noise), {}
    return Image.new("RGBA", DRAWN.size, (0, 0, 0, 0)), {}


@pytest.mark.parametrize(
    "kind",
    ["white on transparent", "white on transparent, with a palette", "grey and alpha", "wholly transparent", "empty"],
)
def test_an_image_of_which_nothing_is_left_on_white_is_refused(tmp_path, kind):
    image, options = blank(kind)
    image.save(tmp_path / "lost.png", **options)
    with pytest.raises(MetaftError, match=r"lost.png is transparent, and laid on white nothing is left of it") as error:
        decode.decode([tmp_path / "lost.png"], SIDE)
    assert "\n" not in error.value.message


def test_an_image_that_scaling_wipes_out_is_refused(tmp_path):
    image = Image.new("L", (2000, 2000), 255)
    image.putpixel((77, 1002), 0)
    image.save(tmp_path / "dot.png")
    with pytest.raises(MetaftError, match=r"dot.png: scaled from 2000×2000 to 8×8 pixels nothing is left of it"):
        decode.decode([tmp_path / "dot.png"], 8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK"])
def test_a_patch_of_colour_is_an_image(tmp_path, mode):
    colour = {"RGB": (9, 80, 70), "RGBA": (9, 80, 70, 255), "CMYK": (246, 175, 185, 0)}[mode]
    Image.new(mode, (20, 20), colour).save(tmp_path / "a.tif")
    assert decode.decode([tmp_path / "a.tif"], 8)[0, :, 3, 3].tolist() == [9, 80, 70]


def test_sixteen_bit_images_are_refused_by_name(tmp_path):
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / "deep.tif")
    Image.fromarray(np.full((9, 9), 0.5, np.float32)).save(tmp_path / "real.tif")
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / "clear.png", transparency=40_000)
    (tmp_path / "deep.pgm").write_bytes(b"P5 2 2 65535 " + b"\x12\x34" * 4)
    for name in ("deep.tif", "real.tif", "clear.png", "deep.pgm"):
        with pytest.raises(MetaftError, match=f"{name} has more than 8 bits a channel"):
            decode.decode([tmp_path / name], 8)


@pytest.mark.parametrize(
    "suffix",
    [
        *(".png", ".PNG", ".jpg", ".JPEG", ".jfif", ".tif", ".TIFF", ".bmp", ".dib", ".gif", ".webp", ".ppm", ".pnm"),
        *(".jp2", ".tga", ".pcx", ".ico", ".sgi", ".qoi", ".dds", ".avif"),
    ],
)
def test_every_format_that_pillow_reads_is_read(tmp_path, suffix):
    if Image.registered_extensions().get(suffix.lower()) not in Image.OPEN:
        pytest.skip("this Pillow has no such format")
    try:
        corners().save(tmp_path / f"a{suffix}", **({"quality": 95} if suffix[1] in "jJ" and suffix != ".jp2" else {}))
    except (KeyError, OSError, ValueError):
        pytest.skip("this Pillow does not write it")
    assert decode.is_image(f"a{suffix}")
    assert near(decode.decode([tmp_path / f"a{suffix}"], SIDE)[0], turned(1), 12)


def test_other_formats_are_taken_by_the_files_name_alone(tmp_path):
    """A damaged PNG is not read as some format that begins with anything at all."""
    corners().save(tmp_path / "a.tga")
    os.rename(tmp_path / "a.tga", tmp_path / "a.png")
    with pytest.raises(MetaftError, match=r"a.png cannot be read as an image"):
        decode.decode([tmp_path / "a.png"], 8)
    corners().save(tmp_path / "b.png")
    os.rename(tmp_path / "b.png", tmp_path / "b.jpg")  # as browsers save them
    assert near(decode.decode([tmp_path / "b.jpg"], SIDE)[0], turned(1), 1)
    assert not decode.is_image("a.eps")
    assert not decode.is_image("a.pdf")


def classes_of(folder, **images):
    for name, own in images.items():
        (folder / name).mkdir(parents=True)
        for i, image in enumerate(own):
            image.save(folder / name / f"{i}.png")
    return image_folder.read("folder", image_folder.files_of({name: folder / name for name in images}), 8)


def noise(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8))


def test_a_class_of_which_nothing_is_left_is_refused(tmp_path):
    black = Image.new("RGB", (12, 12))
    with pytest.raises(MetaftError, match=r"on the 2 images of class 'b', such as .*b/0.png: all their pixels are"):
        classes_of(tmp_path / "one", a=[noise(0), noise(1)], b=[black, black])
    with pytest.raises(MetaftError, match=r"nothing tells classes 'a' and 'c' apart: .* \(0, 0, 0\), such as .*c/0.p"):
        classes_of(tmp_path / "all", a=[black, black], b=[Image.new("RGB", (12, 12), "red")] * 2, c=[black])
    with pytest.raises(MetaftError, match="nothing tells classes"):  # from the cache too
        classes_of(tmp_path / "again", a=[black], b=[black])


def test_few_plain_images_are_counted_aloud_and_patches_of_colour_are_a_data_set(tmp_path, caplog):
    black = Image.new("RGB", (12, 12))
    classes_of(tmp_path / "one", a=[noise(0), black], b=[noise(1), noise(2)])
    assert "1 image of 4 show nothing, being of one colour all over, such as" in caplog.text
    assert "1.png" in caplog.text
    caplog.clear()
    caplog.set_level(logging.WARNING)
    classes_of(tmp_path / "two", a=[Image.new("RGB", (9, 9), "red")] * 2, b=[Image.new("RGB", (9, 9), "blue")] * 2)
    assert not caplog.text


def test_plain_images_are_found_exactly():
    images = torch.full((4, 3, 20, 20), 7, dtype=torch.uint8)
    images[1, 2, 8, 9] = 8  # off the coarse grid
    images[2, 0] = 9  # each channel plain
    images[3, :, ::7, ::5] = 3
    assert plain(images).tolist() == [True, False, True, False]
    assert plain(images[1:2]).tolist() == [False]
