"""Strokes: what an invented character is made of, before anybody draws it.

After the generative model of Lake, Salakhutdinov and Tenenbaum (2015, Science 350:1332): a character is a few
strokes, a stroke a chain of primitives, a relation says where one stroke starts on another. An alphabet has a
style: a vocabulary of strokes and habits of putting them together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

MAX_STROKES = 6
MAX_PIECES = 6
QUARTER = np.pi / 2


@dataclass(frozen=True)
class Stroke:
    """One pen stroke, as turtle instructions and a relation to an earlier stroke.

    Args:
        lengths: length of each piece, in glyph units (about 1 is the height of a letter).
        turns: radians the heading turns along each piece (0: straight; 2π: a full loop).
        corners: radians the heading jumps before each piece; the first one is the stroke's initial heading.
        host: index of the earlier stroke that this one hangs on, -1 for none.
        host_at: where on the host, 0 (its start) to 1 (its end).
        own_at: which point of this stroke lies there, 0 to 1.
        offset: displacement from there (x, y), glyph units; (0, 0) touches.
        join: index of the stroke that this one's end is led to (its own index: a closed stroke), -1 for none.
        join_at: where on that stroke, 0 to 1.
    """

    lengths: tuple[float, ...]
    turns: tuple[float, ...]
    corners: tuple[float, ...]
    host: int = -1
    host_at: float = 0.0
    own_at: float = 0.0
    offset: tuple[float, float] = (0.0, 0.0)
    join: int = -1
    join_at: float = 0.0


Programme = tuple[Stroke, ...]


@dataclass(frozen=True)
class Style:
    """The habits of one alphabet; probabilities unless said otherwise."""

    directions: tuple[float, ...]  # radians: headings that straight pieces and corners favour
    arcs: tuple[float, ...]  # radians: the turns of its curved pieces
    curved: float
    smooth: float  # a piece goes on without a corner
    pieces: float  # mean pieces a stroke, beyond the first
    strokes: float  # mean strokes a character, beyond the first
    touching: float
    joined: float
    closed: float
    dotted: float
    repeated: float
    mirrored: float
    turned: float  # a vocabulary stroke is used turned or mirrored
    variants: float  # a character is a near variant of an earlier one
    stem: float  # a character starts with the alphabet's common stem
    cramped: int  # pixels inside blots that a character may have at 28×28
    jitter: float  # radians by which directions are missed


def sample_style(rng: Generator) -> Style:
    """Draw an alphabet's habits.

    Args:
        rng: the alphabet's own generator.

    Returns:
        A style.
    """
    tilt = rng.choice([0.0, 0.0, 0.0, rng.uniform(-0.3, 0.3)])
    grid = tilt + QUARTER * np.arange(4)
    diagonal = tilt + QUARTER * np.arange(4) + rng.uniform(0.5, 1.1)
    free = rng.uniform(-np.pi, np.pi, rng.integers(3, 7))
    directions = [grid, np.concatenate([grid, diagonal]), np.concatenate([grid[:2], diagonal]), free]
    sizes = np.array([0.5, 1.0, 1.0, 1.5, 2.0, 3.0, 4.0]) * QUARTER
    arcs = rng.choice(sizes, rng.integers(2, 5)) * rng.uniform(0.85, 1.15)
    return Style(
        directions=tuple(directions[rng.choice(4, p=[0.35, 0.3, 0.2, 0.15])].tolist()),
        arcs=tuple(arcs.tolist()),
        curved=rng.beta(0.8, 0.8),
        smooth=rng.uniform(0.1, 0.8),
        pieces=rng.uniform(0.5, 2.4),
        strokes=rng.uniform(0.5, 2.6),
        touching=rng.uniform(0.5, 0.95),
        joined=rng.uniform(0.0, 0.5),
        closed=rng.uniform(0.0, 0.3),
        dotted=rng.choice([0.0, 0.05, 0.25]),
        repeated=rng.uniform(0.0, 0.25),
        mirrored=rng.uniform(0.0, 0.25),
        turned=rng.uniform(0.1, 0.7),
        variants=rng.uniform(0.3, 0.7),
        stem=rng.choice([0.0, 0.0, 0.4, 0.8]),
        cramped=int(rng.choice([0, 0, 3])),
        jitter=rng.uniform(0.02, 0.2),
    )


def _wrapped(angle: float) -> float:
    """The same angle between -π and π."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def sample_stroke(style: Style, rng: Generator) -> Stroke:
    """A new stroke for the vocabulary."""
    count = min(1 + rng.poisson(style.pieces), MAX_PIECES)
    lengths, turns, corners = [], [], []
    heading = 0.0
    for piece in range(count):
        # Going straight on is no corner, and turning on the spot retraces: turn aside.
        aside = [d for d in style.directions if not piece or 0.4 < abs(_wrapped(d - heading)) < 2.8]
        if piece and (not aside or rng.random() < style.smooth):
            corner = 0.0
        else:
            corner = _wrapped(rng.choice(aside) + style.jitter * rng.normal() - heading)
        if rng.random() < style.curved:
            turn = rng.choice([-1, 1]) * rng.choice(style.arcs)
            if rng.random() < 0.5:  # curves mostly run out in a direction that the alphabet favours
                ends = np.array(style.directions) - heading - corner
                ends += 2 * np.pi * np.round((turn - ends) / (2 * np.pi))
                turn = ends[np.abs(ends - turn).argmin()] + style.jitter * rng.normal()
            length = rng.uniform(0.3, 0.8) * (0.6 + abs(turn) / np.pi)
        else:
            turn = style.curved * rng.normal() * 0.3
            length = rng.choice([0.3, 0.5, 0.7, 1.0]) * np.exp(0.1 * rng.normal())
        heading += corner + turn
        lengths.append(length)
        turns.append(turn)
        corners.append(corner)
    # Long chains are written smaller, as loops of one cursive stroke are.
    shrink = min(1.0, 2.0 / sum(lengths))
    stroke = Stroke(tuple(x * shrink for x in lengths), tuple(turns), tuple(corners))
    # Two straight pieces closed would be one line drawn twice; a full turn is meant to be a ring.
    round_enough = count > 2 or sum(abs(t) for t in turns) > 2.5
    closed = 0.7 if count == 1 and abs(turns[0]) > 5.0 else style.closed * round_enough
    return replace(stroke, join=0, join_at=0.0) if rng.random() < closed else stroke


def scaled(stroke: Stroke, factor: float) -> Stroke:
    """The same stroke, ``factor`` times as long."""
    return replace(stroke, lengths=tuple(x * factor for x in stroke.lengths))


def rotated(stroke: Stroke, angle: float) -> Stroke:
    """The same stroke, turned by ``angle`` radians."""
    return replace(stroke, corners=(stroke.corners[0] + angle, *stroke.corners[1:]))


def flipped(stroke: Stroke) -> Stroke:
    """The mirror image, left to right."""
    corners = (np.pi - stroke.corners[0], *(-c for c in stroke.corners[1:]))
    x, y = stroke.offset
    return replace(stroke, turns=tuple(-t for t in stroke.turns), corners=corners, offset=(-x, y))
