"""Alphabets: characters put together from a vocabulary of strokes, all different but often only by little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from metaft.data.glyph_strokes import (
    MAX_STROKES,
    QUARTER,
    Programme,
    Stroke,
    Style,
    flipped,
    rotated,
    sample_stroke,
    sample_style,
    scaled,
)

Floats = NDArray[np.float64]

TRIES = 20  # proposals for a character before the last one is taken as it is
LONGEST = 4.5  # paths (see Look) beyond this are scribbles
PLAIN = 1.55  # paths below this are single bars and hooks: an alphabet has few
RETRACED = 1.4
ALIKE = 0.96  # cosine similarity of two characters of an alphabet, at most


@dataclass(frozen=True)
class Look:
    """What a programme looks like when drawn exactly.

    Args:
        path: length of all ink, in units of the longer side of the bounding box (Omniglot: about 2.5).
        retraced: length of the strokes over length of the ink: 1 where no stroke runs over another.
        blots: pixels inside a solid blot at 28×28, which a pen does not leave unless lines are cramped.
        shape: a blurred picture as a unit vector; products of two are cosine similarities.
    """

    path: float
    retraced: float
    blots: int
    shape: Floats


def _placed(stroke: Stroke, index: int, style: Style, rng: Generator) -> Stroke:
    """Hang a stroke on the earlier ones, touching or beside them."""
    closed = stroke.join >= 0
    if index == 0:
        return replace(stroke, host=-1, join=0 if closed else -1)
    host, ends = int(rng.integers(index)), (0.0, 0.5, 1.0, rng.uniform(0.1, 0.9))
    host_at = float(ends[rng.choice(4, p=[0.25, 0.2, 0.25, 0.3])])
    own_at = 0.0 if closed else float(rng.choice([0.0, 0.5, 1.0], p=[0.65, 0.25, 0.1]))
    if rng.random() < style.touching:
        offset = (0.0, 0.0)
    else:
        away, angle = rng.uniform(0.2, 0.7), rng.choice(style.directions)
        offset = (float(away * np.cos(angle)), float(away * np.sin(angle)))
    stroke = replace(stroke, host=host, host_at=host_at, own_at=own_at, offset=offset)
    if closed:
        return replace(stroke, join=index, join_at=0.0)
    if own_at == 0.0 and rng.random() < style.joined:
        return replace(stroke, join=int(rng.integers(index)), join_at=float(rng.choice([0.0, 0.5, 1.0])))
    return stroke


def _next(before: Programme, vocabulary: list[Stroke], style: Style, rng: Generator) -> Stroke:
    """One more stroke for a character."""
    index = len(before)
    chance = rng.random()
    if index and chance < style.dotted:
        dot = Stroke((0.04,), (0.0,), (0.0,))
        angle, away = rng.choice(style.directions), rng.uniform(0.3, 0.6)
        offset = (float(away * np.cos(angle)), float(away * np.sin(angle)))
        return replace(dot, host=int(rng.integers(index)), host_at=float(rng.choice([0.0, 0.5, 1.0])), offset=offset)
    if index and chance < style.dotted + style.repeated:
        angle, away = rng.choice(style.directions) + QUARTER * rng.integers(2), rng.uniform(0.25, 0.6)
        offset = (float(away * np.cos(angle)), float(away * np.sin(angle)))
        join = index if before[-1].join == index - 1 else -1
        return replace(before[-1], host=index - 1, host_at=0.0, own_at=0.0, offset=offset, join=join, join_at=0.0)
    if index and chance < style.dotted + style.repeated + style.mirrored:
        twin = flipped(before[-1])
        at = float(rng.choice([0.0, 1.0]))
        join = index if twin.join == index - 1 else -1
        return replace(twin, host=index - 1, host_at=at, own_at=at, join=join, join_at=0.0, offset=(0.0, 0.0))
    stroke = vocabulary[rng.choice(len(vocabulary))]
    if rng.random() < style.turned:
        stroke = rotated(stroke, QUARTER * rng.integers(1, 4)) if rng.random() < 0.6 else flipped(stroke)
    scale = np.exp(0.25 * rng.normal()) * (1.0 if index == 0 else rng.uniform(0.4, 1.0))
    return _placed(scaled(stroke, float(scale)), index, style, rng)


def _without(programme: Programme, gone: int) -> Programme:
    """Drop a stroke; those that hung on it hang on the first one."""

    def moved(index: int, own: int) -> int:
        return index - 1 if index > gone else (min(0, own - 1) if index == gone else index)

    kept = [(i, s) for i, s in enumerate(programme) if i != gone]
    new = [replace(s, host=moved(s.host, n), join=moved(s.join, n)) for n, (_, s) in enumerate(kept)]
    return tuple(new)


def _variant(programme: Programme, vocabulary: list[Stroke], style: Style, rng: Generator) -> Programme:
    """A character that differs from another one by a stroke added, dropped, moved, exchanged or reshaped."""
    strokes = list(programme)
    at = int(rng.integers(len(strokes)))
    old = strokes[at]
    change = rng.choice(["add", "drop", "move", "exchange", "reshape", "mirror", "turn", "grow"])
    if change == "add" and len(strokes) < MAX_STROKES:
        return (*programme, _next(programme, vocabulary, style, rng))
    if change == "drop" and len(strokes) > 1:
        return _without(programme, at)
    if change == "move" and at > 0:
        strokes[at] = _placed(replace(old, join=0 if old.join == at else -1), at, style, rng)
    elif change == "exchange" or (change in ("add", "drop", "move") and len(strokes) > 1):
        new = scaled(vocabulary[rng.choice(len(vocabulary))], float(rng.uniform(0.4, 1.0)))
        kept = -1 if old.join == at else old.join
        strokes[at] = replace(
            old,
            lengths=new.lengths,
            turns=new.turns,
            corners=new.corners,
            join=at if new.join >= 0 else kept,
        )
    elif change == "mirror":
        strokes = [flipped(s) for s in strokes] if rng.random() < 0.5 else strokes
        strokes[at] = flipped(strokes[at])
    elif change == "turn":
        strokes[at] = rotated(old, QUARTER * rng.integers(1, 4))
    elif change == "grow":
        strokes[at] = scaled(old, float(rng.choice([0.5, 0.6, 1.7, 2.0])))
    else:
        piece = int(rng.integers(len(old.turns)))
        turns, corners = list(old.turns), list(old.corners)
        if rng.random() < 0.5:
            turns[piece] = float(rng.choice([-1, 1]) * rng.choice(style.arcs)) - 0.5 * turns[piece]
        else:
            corners[piece] += float(rng.choice([-1, 1]) * rng.choice([0.5, 1.0, 1.0]) * QUARTER)
        strokes[at] = replace(old, turns=tuple(turns), corners=tuple(corners))
    return tuple(strokes)


def _fresh(stem: Stroke, vocabulary: list[Stroke], style: Style, rng: Generator) -> Programme:
    """A character put together anew from the vocabulary."""
    count = min(1 + rng.poisson(style.strokes), MAX_STROKES)
    programme: Programme = (stem,) if rng.random() < style.stem else ()
    while len(programme) < count:
        programme = (*programme, _next(programme, vocabulary, style, rng))
    return programme


def sample_alphabet(rng: Generator, characters: list[Generator], look: Callable[[Programme], Look]) -> list[Programme]:
    """Invent an alphabet.

    Args:
        rng: the alphabet's own generator: its style and vocabulary.
        characters: one generator a character.
        look: draws a programme exactly as written; says how it would look.

    Returns:
        One programme a character, of 1 to ``MAX_STROKES`` strokes each.
    """
    style = sample_style(rng)
    vocabulary = [sample_stroke(style, rng) for _ in range(rng.integers(5, 14))]
    stem = _placed(vocabulary[0], 0, style, rng)
    alphabet: list[Programme] = []
    shapes: list[Floats] = []
    for own in characters:
        near = bool(alphabet) and own.random() < style.variants
        for tried in range(TRIES):
            if near and tried < TRIES // 2:
                programme = _variant(alphabet[own.choice(len(alphabet))], vocabulary, style, own)
            else:
                programme = _fresh(stem, vocabulary, style, own)
            seen = look(programme)
            fits = seen.path < LONGEST and seen.retraced < RETRACED and seen.blots <= style.cramped
            told_apart = not shapes or float((np.stack(shapes) @ seen.shape).max()) < ALIKE
            plain = seen.path < PLAIN and own.random() < 0.9
            if fits and told_apart and not plain:
                break
        alphabet.append(programme)
        shapes.append(seen.shape)
    return alphabet
