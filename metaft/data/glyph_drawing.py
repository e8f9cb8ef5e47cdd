"""Drawing a stroke programme: a drawer's motor noise, slant, size and pen, then ink on paper."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from metaft.data.glyph_alphabets import Look
from metaft.data.glyph_ink import ink
from metaft.data.glyph_strokes import MAX_PIECES, MAX_STROKES, Programme

Floats = NDArray[np.float64]

SAMPLES = 96  # points a stroke
WAVES = 3

# Sizes of a drawer's errors: standard deviations.
LENGTH, TURN, TURN_SHARE, CORNER, HEADING = 0.14, 0.10, 0.10, 0.11, 0.07
AT, OFFSET, GAP, WOBBLE, JOIN = 0.05, 0.05, 0.025, 0.07, 0.12
ROTATION, SLANT, ASPECT, SIZE, SHIFT, WARP = 0.05, 0.10, 0.08, 0.06, 0.05, 0.05


def _padded(programmes: list[Programme]) -> dict[str, Floats]:
    """The programmes as arrays ``[characters, strokes(, pieces)]``, zero where there is nothing."""
    shape = (len(programmes), MAX_STROKES)
    fields = {name: np.zeros((*shape, MAX_PIECES)) for name in ("lengths", "turns", "corners")}
    fields |= {name: np.zeros(shape) for name in ("host_at", "own_at", "join_at", "x", "y", "drawn")}
    fields |= {name: np.full(shape, -1.0) for name in ("host", "join")}
    for c, programme in enumerate(programmes):
        for s, stroke in enumerate(programme):
            for name in ("lengths", "turns", "corners"):
                values = getattr(stroke, name)
                fields[name][c, s, : len(values)] = values
            for name in ("host_at", "own_at", "join_at", "host", "join"):
                fields[name][c, s] = getattr(stroke, name)
            fields["x"][c, s], fields["y"][c, s] = stroke.offset
            fields["drawn"][c, s] = 1.0
    return fields


def _noise(rngs: list[Generator], drawings: int) -> dict[str, Floats]:
    """Standard normal noise for every quantity that a drawer can miss, ``[characters × drawings, ...]``."""
    per_stroke, pieces = 6 + 2 * WAVES, 3 * MAX_PIECES
    width = MAX_STROKES * (per_stroke + pieces) + 16
    flat = np.concatenate([rng.standard_normal((drawings, width)) for rng in rngs])
    strokes = flat[:, : MAX_STROKES * (per_stroke + pieces)].reshape(len(flat), MAX_STROKES, -1)
    return {
        "pieces": strokes[..., :pieces].reshape(len(flat), MAX_STROKES, 3, MAX_PIECES),
        "strokes": strokes[..., pieces:],
        "whole": flat[:, -16:],
    }


def _trace(fields: dict[str, Floats], noise: dict[str, Floats], drawer: Floats) -> NDArray[np.complex128]:
    """Pen positions ``[drawings, strokes, SAMPLES]`` in glyph units, x + iy, y downwards.

    ``drawer`` [drawings] scales the motor noise: 0 draws the programme as it is written.
    """
    count = len(drawer)
    along = np.linspace(0.0, 1.0, SAMPLES)
    rows = np.arange(count)
    points = np.zeros((count, MAX_STROKES, SAMPLES), np.complex128)
    dots = fields["lengths"].sum(-1, keepdims=True) < 0.1
    care = drawer[:, None]
    for s in range(int(fields["drawn"].sum(1).max())):
        piece, loose = noise["pieces"][:, s], noise["strokes"][:, s] * care
        drawn = fields["lengths"][:, s] > 0
        lengths = fields["lengths"][:, s] * np.exp(LENGTH * care * piece[:, 0])
        turns = fields["turns"][:, s]
        turns = turns * (1 + TURN_SHARE * care * piece[:, 1]) + drawn * TURN * care * np.roll(
            piece[:, 0], 1, 1
        )
        corners = fields["corners"][:, s] + drawn * CORNER * care * piece[:, 2]
        corners[:, 0] += HEADING * loose[:, 0]
        total = np.maximum(lengths.sum(1, keepdims=True), 1e-9)
        ends = lengths.cumsum(1) / total
        starts = ends - lengths / total
        # Corners are rounded by a little; how much is the drawer's habit.
        width = 0.01 + 0.06 * np.abs(noise["whole"][:, 15, None, None]) * care[..., None]
        at = along[None, None]
        ramp = np.clip((at - starts[..., None]) / np.maximum(ends - starts, 1e-6)[..., None], 0.0, 1.0)
        jump = np.clip((at - starts[..., None]) / width + 0.5, 0.0, 1.0)
        jump[:, 0] = 1.0
        heading = (turns[..., None] * ramp + corners[..., None] * jump).sum(1)
        for wave in range(WAVES):
            phase = 2 * np.pi * loose[:, 6 + 2 * wave, None]
            heading += WOBBLE * loose[:, 7 + 2 * wave, None] * np.sin((wave + 1) * 4.0 * along + phase)
        step = total * np.exp(1j * heading) / (SAMPLES - 1)
        pen = np.cumsum(step, 1) - step[:, :1]

        host = fields["host"][:, s].astype(int)
        hung = host >= 0
        between = (fields["host_at"][:, s] > 0) & (fields["host_at"][:, s] < 1)
        place = np.clip(fields["host_at"][:, s] + (AT + 0.03 * between) * loose[:, 1], 0.0, 1.0)
        # Ends are met better than points along a stroke.
        place = np.where(between, place, fields["host_at"][:, s])
        free = (fields["x"][:, s] != 0) | (fields["y"][:, s] != 0)
        miss = GAP + OFFSET * free
        target = fields["x"][:, s] + miss * loose[:, 2] + 1j * (fields["y"][:, s] + miss * loose[:, 3])
        target = target + np.where(hung, points[rows, host, (place * (SAMPLES - 1)).astype(int)], 0.0)
        own = np.clip(fields["own_at"][:, s] + AT * loose[:, 4] * (fields["own_at"][:, s] == 0.5), 0.0, 1.0)
        pen += (target - pen[rows, (own * (SAMPLES - 1)).astype(int)])[:, None]

        join = fields["join"][:, s].astype(int)
        points[:, s] = pen
        aim = points[rows, join, (fields["join_at"][:, s] * (SAMPLES - 1)).astype(int)]
        pull = np.where(join >= 0, 1.0 + JOIN * loose[:, 5], 0.0) * (aim - pen[:, -1])
        points[:, s] = np.where(dots[:, s], pen, pen + pull[:, None] * along)
    return points


def _box(points: NDArray[np.complex128], drawn: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Centre (x + iy) and extent ``[drawings, 2]`` of the ink's bounding box."""
    shown = drawn[..., None]
    low = [np.where(shown, axis, np.inf).min((1, 2)) for axis in (points.real, points.imag)]
    high = [np.where(shown, axis, -np.inf).max((1, 2)) for axis in (points.real, points.imag)]
    centre = (low[0] + high[0]) / 2 + 1j * (low[1] + high[1]) / 2
    return centre, np.stack([high[0] - low[0], high[1] - low[1]], 1)


def _exact(fields: dict[str, Floats]) -> NDArray[np.complex128]:
    """The pen's path without motor noise."""
    count = len(fields["drawn"])
    noise = {
        "pieces": np.zeros((count, MAX_STROKES, 3, MAX_PIECES)),
        "strokes": np.zeros((count, MAX_STROKES, 6 + 2 * WAVES)),
        "whole": np.zeros((count, 16)),
    }
    return _trace(fields, noise, np.zeros(count))


def look(programme: Programme) -> Look:
    """Draw a programme exactly as written and measure it.

    Args:
        programme: a character.

    Returns:
        Its path length, crowding and blurred shape.
    """
    points = _exact(_padded([programme]))[0, : len(programme)]
    centre, extent = _box(points[None], np.ones((1, len(points)), bool))
    scale = 1.0 / max(float(extent.max()), 1e-6)
    path = float(np.abs(np.diff(points, axis=1)).sum()) * scale
    spots = ((points - centre) * scale + (0.5 + 0.5j)).ravel()
    weight = np.abs(np.diff(points, axis=1, append=points[:, -1:])).ravel()
    cells = np.unique((spots.real * 11.99).astype(int) * 12 + (spots.imag * 11.99).astype(int))
    grid = np.linspace(0.0, 1.0, 12)
    blur_x, blur_y = (
        np.exp(-0.5 * ((axis[:, None] - grid) / 0.07) ** 2) for axis in (spots.real, spots.imag)
    )
    # The square root keeps a place the pen passes twice from counting twice as much.
    shape = np.sqrt((blur_y * weight[:, None]).T @ blur_x).ravel()
    return Look(path, path * 12 / len(cells), shape / np.linalg.norm(shape))


def draw(programmes: list[Programme], rngs: list[Generator], drawings: int, size: int) -> NDArray[np.uint8]:
    """Draw each character of an alphabet several times.

    Args:
        programmes: one a character.
        rngs: one generator a character; everything random about its drawings comes from it.
        drawings: how many drawings a character.
        size: height and width of the images, pixels.

    Returns:
        ``uint8 [characters × drawings, size, size]``, a character's drawings side by side; 255 is ink.
    """
    plain = _padded(programmes)
    # How large the character is meant to be, as shares of the paper, and where it tends to sit.
    meant = np.stack([rng.standard_normal(4) for rng in rngs])
    centre, extent = _box(_exact(plain), plain["drawn"] > 0)
    wanted = np.clip(0.61 + 0.10 * meant[:, 0], 0.3, 0.85)

    fields = {name: np.repeat(values, drawings, 0) for name, values in plain.items()}
    noise = _noise(rngs, drawings)
    whole = noise["whole"]
    # Some drawers are careful, some are not.
    points = _trace(fields, noise, np.exp(0.35 * whole[:, 0]))
    drawn = fields["drawn"] > 0
    # A drawer who strays still fills about the same space: half of the drift in size is taken out.
    _, strayed = _box(points, drawn)
    filled = np.sqrt(np.repeat(np.maximum(extent.max(1), 0.3), drawings) * np.maximum(strayed.max(1), 0.3))
    scale = np.repeat(wanted, drawings) / filled * np.exp(SIZE * whole[:, 1])
    points = (points - np.repeat(centre, drawings)[:, None, None]) * scale[:, None, None]
    col = lambda index: whole[:, index, None, None]
    x, y = points.real, points.imag
    x = x * np.exp(ASPECT * col(2)) + SLANT * col(3) * y
    y = y * np.exp(ASPECT * col(4))
    x, y = x + WARP * (col(5) * x * y + col(6) * y * y) * 2, y + WARP * (col(7) * x * y + col(8) * x * x) * 2
    points = (x + 1j * y) * np.exp(1j * ROTATION * col(9))
    middle, strayed = _box(points, drawn)
    points = (points - middle[:, None, None]) * np.minimum(1.0, 0.90 / strayed.max(1))[:, None, None]
    lean = np.repeat(meant[:, 2:], drawings, 0) * 0.012 + SHIFT * whole[:, 10:12] - 0.02
    # Characters stay on the paper, but for the odd one.
    room = np.maximum(0.94 - np.minimum(strayed, 0.90), 0.0) / 2
    lean = np.clip(lean, -room, room)
    points += (0.5 + 0.5j) + (lean[:, 0] + 1j * lean[:, 1])[:, None, None]
    radius = 0.0268 * np.exp(0.08 * whole[:, 12])
    return ink(points, drawn, radius, size)
