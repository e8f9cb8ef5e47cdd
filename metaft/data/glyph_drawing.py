"""Drawing a stroke programme: a drawer's motor noise, slant, size and pen, then ink on paper."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from metaft.data.glyph_alphabets import Look
from metaft.data.glyph_ink import FINE, ink
from metaft.data.glyph_strokes import MAX_PIECES, MAX_STROKES, Programme

Floats = NDArray[np.float64]

SAMPLES = 128  # points a stroke
PEN = 0.0268  # half the pen's width, a share of the paper's side
TYPICAL = 0.61  # a character's longer side, likewise
_PIXELS = np.arange(28)
BLUR = np.exp(-0.5 * ((_PIXELS[::2, None] + 0.5 - _PIXELS) / 1.5) ** 2)

# What a drawer misses, and by how much: standard deviations (of logarithms where sizes are meant).
PIECE = {"length": 0.18, "turn": 0.09, "turn_share": 0.12, "corner": 0.08}
STROKE = {"heading": 0.06, "at": 0.07, "own_at": 0.06, "x": 0.05, "y": 0.05, "join": 0.12}
STROKE |= {"wave_1": 0.06, "wave_2": 0.06, "wave_3": 0.06, "phase_1": 6.0, "phase_2": 6.0, "phase_3": 6.0}
WHOLE = {"sloppiness": 0.55, "size": 0.06, "wide": 0.09, "tall": 0.09, "slant": 0.09, "rotation": 0.04}
WHOLE |= {"warp_1": 0.1, "warp_2": 0.1, "warp_3": 0.1, "warp_4": 0.1}
WHOLE |= {"x": 0.05, "y": 0.05, "pen": 0.10, "rounding": 0.06}

Noise = dict[str, dict[str, Floats]]


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


def _noise(rngs: list[Generator], drawings: int) -> Noise:
    """Everything that a drawer misses: per piece ``[characters × drawings, strokes, pieces]``, stroke and whole."""
    pieces, strokes = len(PIECE) * MAX_STROKES * MAX_PIECES, len(STROKE) * MAX_STROKES
    flat = np.concatenate([rng.standard_normal((drawings, pieces + strokes + len(WHOLE))) for rng in rngs])
    by_piece = flat[:, :pieces].reshape(len(flat), len(PIECE), MAX_STROKES, MAX_PIECES)
    by_stroke = flat[:, pieces : pieces + strokes].reshape(len(flat), len(STROKE), MAX_STROKES)
    whole = {name: sd * flat[:, pieces + strokes + i] for i, (name, sd) in enumerate(WHOLE.items())}
    # Some drawers are careful, some are not.
    sloppy = np.minimum(0.8 * np.exp(whole["sloppiness"]), 3.0)[:, None]
    return {
        "piece": {n: sd * sloppy[..., None] * by_piece[:, i] for i, (n, sd) in enumerate(PIECE.items())},
        "stroke": {n: sd * sloppy * by_stroke[:, i] for i, (n, sd) in enumerate(STROKE.items())},
        "whole": whole | {"rounding": np.abs(whole["rounding"] * sloppy[:, 0])},
    }


def _silence(count: int) -> Noise:
    """The noise of a perfect drawer."""
    piece, stroke = np.zeros((count, MAX_STROKES, MAX_PIECES)), np.zeros((count, MAX_STROKES))
    return {
        "piece": dict.fromkeys(PIECE, piece),
        "stroke": dict.fromkeys(STROKE, stroke),
        "whole": dict.fromkeys(WHOLE, np.zeros(count)),
    }


def _pen(fields: dict[str, Floats], noise: Noise, s: int) -> NDArray[np.complex128]:
    """The path ``[drawings, SAMPLES]`` of stroke ``s`` from the origin: its heading, integrated."""
    piece, stroke = ({name: x[:, s] for name, x in noise[part].items()} for part in ("piece", "stroke"))
    along = np.linspace(0.0, 1.0, SAMPLES)
    lengths, turns = fields["lengths"][:, s], fields["turns"][:, s]
    there = lengths > 0
    lengths = lengths * np.exp(piece["length"])
    turns = turns * (1 + piece["turn_share"]) + there * piece["turn"]
    corners = fields["corners"][:, s] + there * piece["corner"]
    total = np.maximum(lengths.sum(1, keepdims=True), 1e-9)
    ends = (lengths.cumsum(1) / total)[..., None]
    starts = ends - (lengths / total)[..., None]
    ramp = np.clip((along - starts) / np.maximum(ends - starts, 1e-6), 0.0, 1.0)
    # Corners are rounded by a little; how much is the drawer's habit.
    jump = np.clip((along - starts) / (0.01 + noise["whole"]["rounding"][:, None, None]) + 0.5, 0.0, 1.0)
    jump[:, 0] = 1.0
    heading = (turns[..., None] * ramp + corners[..., None] * jump).sum(1) + stroke["heading"][:, None]
    for wave in (1, 2, 3):
        phase = stroke[f"phase_{wave}"][:, None]
        heading += stroke[f"wave_{wave}"][:, None] * np.sin(4.0 * wave * along + phase)
    step = total * np.exp(1j * heading) / (SAMPLES - 1)
    return np.cumsum(step, 1) - step[:, :1]


def _trace(fields: dict[str, Floats], noise: Noise) -> NDArray[np.complex128]:
    """Pen positions ``[drawings, strokes, SAMPLES]`` in glyph units, x + iy, y downwards."""
    count = len(fields["drawn"])
    rows = np.arange(count)
    points = np.zeros((count, MAX_STROKES, SAMPLES), np.complex128)
    # Strokes hang on earlier ones, so they are drawn in order, all drawings at once.
    for s in range(int(fields["drawn"].sum(1).max())):
        own = {name: values[:, s] for name, values in fields.items()}
        missed = {name: values[:, s] for name, values in noise["stroke"].items()}
        pen = _pen(fields, noise, s)
        # Ends are met well, points along a stroke less so; a stroke beside another is placed freely.
        host_at = own["host_at"] + missed["at"] * ((own["host_at"] > 0) & (own["host_at"] < 1))
        own_at = own["own_at"] + missed["own_at"] * ((own["own_at"] > 0) & (own["own_at"] < 1))
        loose = np.where((own["x"] != 0) | (own["y"] != 0), 2.0, 0.6)
        target = own["x"] + loose * missed["x"] + 1j * (own["y"] + loose * missed["y"])
        host = own["host"].astype(int)
        target = target + np.where(host >= 0, points[rows, host, _sample(host_at)], 0.0)
        points[:, s] = pen + (target - pen[rows, _sample(own_at)])[:, None]
        join = own["join"].astype(int)
        gap = points[rows, join, _sample(own["join_at"])] - points[:, s, -1]
        led = np.where(join >= 0, 1.0 + missed["join"], 0.0) * gap
        points[:, s] += led[:, None] * np.linspace(0.0, 1.0, SAMPLES)
    return points


def _sample(at: Floats) -> NDArray[np.int64]:
    """The sample at a share of a stroke's length."""
    return np.rint(np.clip(at, 0.0, 1.0) * (SAMPLES - 1)).astype(np.int64)


def _box(points: NDArray[np.complex128], drawn: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Centre (x + iy) and extent ``[drawings, 2]`` of the ink's bounding box."""
    shown = drawn[..., None]
    low = [np.where(shown, axis, np.inf).min((1, 2)) for axis in (points.real, points.imag)]
    high = [np.where(shown, axis, -np.inf).max((1, 2)) for axis in (points.real, points.imag)]
    centre = (low[0] + high[0]) / 2 + 1j * (low[1] + high[1]) / 2
    return centre, np.stack([high[0] - low[0], high[1] - low[1]], 1)


def look(programme: Programme) -> Look:
    """Draw a programme exactly as written and measure it.

    Args:
        programme: a character.

    Returns:
        Its path length, blots and blurred shape.
    """
    points = _trace(_padded([programme]), _silence(1))[0, : len(programme)]
    centre, extent = _box(points[None], np.ones((1, len(points)), bool))
    scale = 1.0 / max(float(extent.max()), 1e-6)
    strokes = float(np.abs(np.diff(points, axis=1)).sum()) * scale
    placed = (points - centre) * (scale * TYPICAL) + (0.5 + 0.5j)
    picture = ink(placed[None], np.ones((1, len(points)), bool), np.array([PEN]), 28)[0] / 255.0
    windows = np.lib.stride_tricks.sliding_window_view(picture, (3, 3))
    blots = int((windows.min((2, 3)) > 0.6).sum())
    blurred = BLUR @ picture @ BLUR.T
    path = picture.sum() / 28**2 / (2 * PEN * TYPICAL)
    return Look(path, strokes / path, blots, (blurred / np.linalg.norm(blurred)).ravel())


def _warped(points: NDArray[np.complex128], whole: dict[str, Floats]) -> NDArray[np.complex128]:
    """Whole drawings stretched, slanted, bent and turned as hand and wrist do."""
    by = {name: values[:, None, None] for name, values in whole.items()}
    x = points.real * np.exp(by["wide"]) + by["slant"] * points.imag
    y = points.imag * np.exp(by["tall"])
    bent_x = x + by["warp_1"] * x * y + by["warp_2"] * y * y
    bent_y = y + by["warp_3"] * x * y + by["warp_4"] * x * x
    return (bent_x + 1j * bent_y) * np.exp(1j * by["rotation"])


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
    meant = np.stack([rng.standard_normal(3) for rng in rngs])
    centre, extent = _box(_trace(plain, _silence(len(programmes))), plain["drawn"] > 0)
    wanted = np.clip(TYPICAL + 0.10 * meant[:, 0], 0.3, 0.85)

    fields = {name: np.repeat(values, drawings, 0) for name, values in plain.items()}
    drawn = fields["drawn"] > 0
    noise = _noise(rngs, drawings)
    whole = noise["whole"]
    points = _trace(fields, noise)
    # A drawer who strays still fills about the same space: half of the drift in size is taken out.
    _, strayed = _box(points, drawn)
    filled = np.sqrt(np.repeat(np.maximum(extent.max(1), 0.3), drawings) * np.maximum(strayed.max(1), 0.3))
    scale = np.repeat(wanted, drawings) / filled * np.exp(whole["size"])
    points = _warped((points - np.repeat(centre, drawings)[:, None, None]) * scale[:, None, None], whole)
    # Characters stay on the paper, a little above and left of its middle as people write.
    middle, strayed = _box(points, drawn)
    points = (points - middle[:, None, None]) * np.minimum(1.0, 0.87 / strayed.max(1))[:, None, None]
    room = np.maximum(0.91 - np.minimum(strayed, 0.87), 0.0) / 2
    lean = np.repeat(meant[:, 1:], drawings, 0) * 0.012 + np.stack([whole["x"], whole["y"]], 1) - 0.02
    lean = np.clip(lean, -room, room) + 0.5
    points += (lean[:, 0] + 1j * lean[:, 1])[:, None, None]
    radius = PEN * np.exp(whole["pen"])
    # A chunk of a fine grid of 2**26 bytes at most, however large the images.
    step = max(1, 2**26 // (FINE * size) ** 2)
    chunks = [slice(at, at + step) for at in range(0, len(points), step)]
    return np.concatenate([ink(points[c], drawn[c], radius[c], size) for c in chunks])
