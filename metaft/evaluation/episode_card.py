"""An episode as a small picture: readable in a card of TensorBoard, and quick enough for every validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from metaft.tasks.batch import IGNORE, TaskBatch

TILE, EDGE, GAP, TEXT = 56, 4, 16, 18
"""Pixels: an image, its frame, between support set and queries, the height of letters."""
WIDEST_SUPPORT, WIDEST_QUERIES, MOST_CLASSES = 2, 4, 5
WIDTH, HEIGHT, MARGIN = 360, 240, 12
RIGHT, WRONG, PLAIN, TRUTH = (0, 114, 178), (213, 94, 0), (118, 118, 118), (190, 190, 190)  # as in `style`

Pixels = NDArray[np.uint8]


def episode_card(batch: TaskBatch, predictions: Tensor) -> Pixels | None:
    """Draw the first task of a batch with the learner's answers.

    Args:
        batch: inputs are images ``[channels, height, width]`` or single numbers ``[1]``.
        predictions: ``[tasks, queries, outputs]``.

    Returns:
        ``uint8 [height, width, 3]``, at most some 400 pixels wide: a row a class, its support examples, then its
        queries, framed in blue if answered rightly, else in vermillion with the class answered; or truth, fit and
        support points. None for other inputs, and for tasks without a support set.
    """
    inputs = batch.support_x.shape[2:]
    if not batch.support_x.shape[1]:
        return None
    if len(inputs) == 3 and not batch.query_y.is_floating_point():
        return _images(batch, predictions[0].argmax(-1).cpu().numpy())
    if tuple(inputs) == (1,) and batch.query_y.shape == predictions.shape:
        return _fit(batch, predictions[0, :, 0].cpu().numpy())
    return None


def _images(batch: TaskBatch, answers: NDArray[np.int64]) -> Pixels:
    support_x, support_y, query_x, query_y = (t[0].cpu().numpy() for t in batch.tensors())
    classes = range(min(int(support_y.max()) + 1, MOST_CLASSES))
    support = [np.flatnonzero(support_y == c)[:WIDEST_SUPPORT] for c in classes]
    query = [np.flatnonzero(query_y == c)[:WIDEST_QUERIES] for c in classes]
    left = max(map(len, support)) * TILE + GAP
    width = max(left + max(map(len, query)) * TILE, 4 * TILE + GAP)
    canvas = Image.new("RGB", (TEXT + width, len(classes) * TILE + TEXT + 8), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT)
    asked = query_y != IGNORE
    draw.text(
        (TEXT, 2), f"queries: {int((answers == query_y)[asked].sum())} of {int(asked.sum())} right", "black", font
    )
    for c in classes:
        top = c * TILE + TEXT + 8
        draw.text((2, top + TILE // 2), str(c), "black", font, anchor="lm")
        for place, row in enumerate(support[c]):
            _tile(canvas, support_x[row], TEXT + place * TILE, top, PLAIN)
        for place, row in enumerate(query[c]):
            x = TEXT + left + place * TILE
            _tile(canvas, query_x[row], x, top, RIGHT if answers[row] == c else WRONG)
            if answers[row] != c:
                corner = (x + TILE - 4, top + TILE - 4)
                draw.rectangle(draw.textbbox(corner, str(answers[row]), font, anchor="rb"), fill=WRONG)
                draw.text(corner, str(answers[row]), "white", font, anchor="rb")
    return np.asarray(canvas)


def _tile(canvas: Image.Image, image: NDArray[np.float32], x: int, y: int, frame: tuple[int, int, int]) -> None:
    scaled = (255 * np.nan_to_num(image).clip(0, 1)).round().astype(np.uint8)
    # Ink is bright in data of characters; on paper it is dark. Three channels are taken for colours.
    shown = Image.fromarray(scaled.transpose(1, 2, 0) if len(image) == 3 else 255 - scaled[0])
    size = TILE - 2 - 2 * EDGE
    ImageDraw.Draw(canvas).rectangle((x + 1, y + 1, x + TILE - 2, y + TILE - 2), fill=frame)
    canvas.paste(shown.convert("RGB").resize((size, size), Image.Resampling.NEAREST), (x + 1 + EDGE, y + 1 + EDGE))


def _fit(batch: TaskBatch, answers: NDArray[np.float32]) -> Pixels:
    support_x, support_y, query_x, query_y = (t[0].cpu().numpy()[:, 0] for t in batch.tensors())
    canvas = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT)
    across, up = (query_x, support_x), (query_y, support_y, np.nan_to_num(answers).clip(-1e6, 1e6))
    low_x, high_x = min(v.min() for v in across), max(v.max() for v in across)
    low_y, high_y = min(v.min() for v in up), max(v.max() for v in up)
    place_x = lambda v: MARGIN + (WIDTH - 2 * MARGIN) * (v - low_x) / max(high_x - low_x, 1e-9)
    place_y = lambda v: HEIGHT - MARGIN - (HEIGHT - TEXT - 3 * MARGIN) * (v - low_y) / max(high_y - low_y, 1e-9)
    order = query_x.argsort()
    for values, colour, thick in ((query_y, TRUTH, 5), (up[2], RIGHT, 3)):
        points = [(float(place_x(query_x[i])), float(place_y(values[i]))) for i in order]
        if len(points) > 1:
            draw.line(points, fill=colour, width=thick, joint="curve")
    for x, y in zip(place_x(support_x), place_y(support_y), strict=True):
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill="black")
    error = float(np.mean((answers - query_y) ** 2))
    draw.text((MARGIN, 4), f"mean squared error {error:.3g}", "black", font)
    return np.asarray(canvas)
