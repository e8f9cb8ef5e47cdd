"""Glyphs: unlimited invented characters made of pen strokes, built in, nothing to download."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator, Philox, SeedSequence

from metaft.data.glyph_alphabets import sample_alphabet
from metaft.data.glyph_drawing import draw, look
from metaft.data.images import LabelledImages
from metaft.errors import MetaftError, nearest

ALPHABETS = {"train": 50, "val": 10, "test": 20}
CHARACTERS = (18, 32)  # an alphabet has from 18 to 31 characters
DRAWINGS = 20


def _generator(seed: int, *key: int) -> Generator:
    """The generator of one alphabet or character: depends on its key alone."""
    return Generator(Philox(SeedSequence(seed, spawn_key=key)))


def load(split: str, *, alphabets: int | None = None, seed: int = 0, size: int = 28) -> LabelledImages:
    """Invent alphabets and draw their characters, 20 drawings each.

    Every alphabet is a pure function of (seed, split, its number): asking for more of them changes none.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``; no two splits share an alphabet.
        alphabets: how many; by default 50, 10 and 20.
        seed: which world of alphabets, 0 or more.
        size: height and width of the images, pixels, 8 to 256.

    Returns:
        Images ``[classes × 20, 1, size, size]``, 255 is ink, classes named ``glyphs-train-03/character07``.

    Raises:
        MetaftError: for an unknown split, or a number out of its range.
    """
    if split not in ALPHABETS:
        raise MetaftError(f"glyphs has no split {split!r}{nearest(str(split), ALPHABETS)}")
    count = ALPHABETS[split] if alphabets is None else alphabets
    for name, value, low, high in (
        ("alphabets", count, 1, 10_000),
        ("seed", seed, 0, 2**63 - 1),
        ("size", size, 8, 256),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise MetaftError(f"glyphs: {name} is {value!r}; give a whole number from {low} to {high}")
    part = list(ALPHABETS).index(split)
    images, names = [], []
    for number in range(count):
        style = _generator(seed, part, number)
        characters = range(int(style.integers(*CHARACTERS)))
        programmes = sample_alphabet(style, [_generator(seed, part, number, 0, c) for c in characters], look)
        images.append(draw(programmes, [_generator(seed, part, number, 1, c) for c in characters], DRAWINGS, size))
        names += [f"glyphs-{split}-{number:02d}/character{c + 1:02d}" for c in characters]
    drawn = torch.from_numpy(np.concatenate(images)).unsqueeze(1)
    return LabelledImages(drawn, torch.full((len(names),), DRAWINGS), tuple(names))
