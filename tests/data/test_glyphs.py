from dataclasses import replace

import numpy as np
import pytest
import torch

from metaft.data import glyphs
from metaft.data.glyph_drawing import look
from metaft.data.glyph_strokes import Stroke
from metaft.errors import MetaftError


@pytest.fixture(scope="module")
def some():
    return glyphs.load("train", alphabets=4)


def pixels(data):
    return data.images[:, 0].float().div(255).view(data.classes, glyphs.DRAWINGS, *data.images.shape[2:])


def test_shapes_and_names(some):
    assert some.images.shape == (some.classes * 20, 1, 28, 28)
    assert some.images.dtype == torch.uint8
    assert some.counts.tolist() == [20] * some.classes
    assert some.names[0] == "glyphs-train-00/character01"
    assert {name.split("/")[0] for name in some.names} == {f"glyphs-train-{a:02d}" for a in range(4)}
    assert 4 * 18 <= some.classes < 4 * 32


def test_same_seed_same_glyphs_whatever_else_is_drawn(some):
    fewer = glyphs.load("train", alphabets=2)
    assert fewer.names == some.names[: fewer.classes]
    assert torch.equal(fewer.images, some.images[: len(fewer.images)])


def test_splits_and_seeds_share_no_drawing(some):
    others = [
        glyphs.load("val", alphabets=2),
        glyphs.load("test", alphabets=2),
        glyphs.load("train", alphabets=2, seed=1),
    ]
    seen = {image.numpy().tobytes() for image in some.images}
    for other in others:
        drawn = {image.numpy().tobytes() for image in other.images}
        assert not seen & drawn
        seen |= drawn


def test_a_characters_drawings_are_all_different(some):
    for drawings in some.images.view(some.classes, 20, -1):
        assert len(drawings.unique(dim=0)) == 20


def test_ink_is_like_omniglots(some):
    # Background alphabets at 28×28, averaged down: 7.8% ink on average, 87% of the pixels blank, 3% full.
    x = pixels(some)
    assert 0.06 < x.mean() < 0.10
    assert 0.84 < (x < 0.02).float().mean() < 0.91
    assert 0.015 < (x > 0.98).float().mean() < 0.06
    assert x.flatten(2).amax(-1).min() > 0.5, "a drawing without ink"


def test_drawings_stay_on_the_paper(some):
    x = pixels(some) > 0.25
    sides = torch.stack([x[..., 0, :].any(-1), x[..., -1, :].any(-1), x[..., :, 0].any(-1), x[..., :, -1].any(-1)])
    assert not sides.all(0).any()
    assert sides.any(0).float().mean() < 0.2
    rows = x.any(-1).sum(-1).float()
    assert 13 < rows.mean() < 20


def test_raw_pixels_tell_characters_apart_a_little(some):
    # Omniglot's background alphabets: 44% by the nearest raw image, 5-way 1-shot, where guessing gives 20%.
    x, rng, right = pixels(some).flatten(2), np.random.default_rng(0), []
    for _ in range(300):
        classes = torch.from_numpy(rng.choice(some.classes, 5, replace=False))
        support, query = rng.choice(20, 2, replace=False)
        nearest = torch.cdist(x[classes, int(query)], x[classes, int(support)]).argmin(1)
        right.append((nearest == torch.arange(5)).float().mean().item())
    assert 0.32 < np.mean(right) < 0.60


def test_characters_of_one_alphabet_are_alike_but_not_the_same(some):
    # Mean pictures, blurred: nearer to each other inside an alphabet than across, never the same twice.
    mean = torch.nn.functional.avg_pool2d(pixels(some).mean(1, keepdim=True), 2).flatten(1)
    apart = torch.cdist(mean, mean)
    alphabet = torch.tensor([int(name[13:15]) for name in some.names])
    inside = (alphabet[:, None] == alphabet) & ~torch.eye(some.classes, dtype=torch.bool)
    assert apart[inside].mean() < apart[alphabet[:, None] != alphabet].mean()
    assert apart[inside].min() > 0.1


@pytest.mark.parametrize("size", [8, 16, 56])
def test_other_sizes_show_the_same_glyphs(size):
    small, large = glyphs.load("val", alphabets=1, size=size), glyphs.load("val", alphabets=1, size=28)
    assert small.images.shape[-2:] == (size, size)
    a, b = (torch.nn.functional.adaptive_avg_pool2d(d.images.float(), 4).flatten(1) for d in (small, large))
    together = torch.nn.functional.cosine_similarity(a, b)
    assert together.mean() > 0.98


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"split": "trian"}, "'trian'; did you mean 'train'?"),
        ({"split": "train", "alphabets": 0}, "alphabets is 0"),
        ({"split": "train", "alphabets": 2.5}, "alphabets is 2.5"),
        ({"split": "train", "size": 7}, "size is 7"),
        ({"split": "train", "seed": -1}, "seed is -1"),
    ],
)
def test_bad_input(arguments, says):
    with pytest.raises(MetaftError, match="glyphs") as caught:
        glyphs.load(**arguments)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


LINE = Stroke((1.0,), (0.0,), (0.0,))
RING = Stroke((np.pi,), (2 * np.pi,), (0.0,))
SQUARE = Stroke((1.0, 1.0, 1.0, 1.0), (0.0,) * 4, (0.0, np.pi / 2, np.pi / 2, np.pi / 2))


@pytest.mark.parametrize(
    ("programme", "length"),
    [
        ((LINE,), 1.0),
        ((RING,), np.pi),
        ((SQUARE,), 4.0),
        # A cross: the second stroke hangs by its middle on the middle of the first.
        ((LINE, replace(LINE, corners=(np.pi / 2,), host=0, host_at=0.5, own_at=0.5)), 2.0),
    ],
)
def test_a_programme_says_what_is_drawn(programme, length):
    seen = look(programme)
    # Ink reaches beyond a stroke's ends by half the pen's width, and lines that cross share some.
    assert seen.path == pytest.approx(length, rel=0.12)
    assert seen.retraced == pytest.approx(1.0, abs=0.12)
    assert seen.blots <= 1


def test_a_line_drawn_there_and_back_is_noticed():
    # Closing two straight pieces that meet in a corner pulls them onto each other.
    wedge = Stroke((1.0, 1.0), (0.0, 0.0), (0.0, np.pi / 2), join=0)
    assert look((wedge,)).retraced > 1.6


def test_a_stroke_led_to_another_reaches_it():
    # Two upright bars 0.8 apart and a short third stroke from one towards the other, which only a join reaches.
    up = replace(LINE, corners=(np.pi / 2,))
    bars = (up, replace(up, host=0, offset=(0.8, 0.0)))
    rung = replace(LINE, lengths=(0.3,), host=0, host_at=0.5)
    reaching = replace(rung, join=1, join_at=0.5)
    assert look((*bars, reaching)).path - look((*bars, rung)).path == pytest.approx(0.5, abs=0.1)
