"""Small runs, and a user's own drawings, texts and rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image, ImageDraw

from metaft.cli import cli

SHORT = (
    "--queries", "1", "--tasks", "1", "--iterations", "1", "--validate-tasks", "2", "--engine", "eager", "--workers",
    "1", "--quiet",
)  # fmt: skip
SHAPES = ("line", "ellipse", "rectangle", "cross")


def trained(command: str, out: Path, *words: object) -> Path:
    """A run of one iteration.

    Args:
        command: meta-train or pretrain.
        out: its directory.
        words: of the command.
    """
    short = SHORT if command == "meta-train" else ("--iterations", "2", "--quiet")
    done = CliRunner().invoke(cli, [command, "--out", str(out), *short, *map(str, words)])
    assert done.exit_code == 0, done.output
    return out


def drawing(shape: str, seed: int, side: int = 56) -> Image.Image:
    """Dark ink on white paper."""
    rng = np.random.default_rng([seed, SHAPES.index(shape)])
    image = Image.new("RGB", (side, side), "white")
    draw, (x, y) = ImageDraw.Draw(image), rng.integers(4, 14, 2).tolist()
    box = [x, y, x + 32, y + 32]
    if shape in ("ellipse", "rectangle"):
        getattr(draw, shape)(box, outline="black", width=4)
    else:
        draw.line(box, fill="black", width=4)
        if shape == "cross":
            draw.line([box[2], box[1], box[0], box[3]], fill="black", width=4)
    return image


def drawings(folder: Path, shapes: tuple[str, ...] = SHAPES[:3], each: int = 2, first: int = 0) -> list[Path]:
    """Files of drawings in class folders.

    Args:
        folder: of the class folders.
        shapes: the classes.
        each: how many of each.
        first: the seed of the first.

    Returns:
        The files, class by class.
    """
    files = []
    for shape in sorted(shapes):
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + each):
            files.append(folder / shape / f"{number}.png")
            drawing(shape, number).save(files[-1])
    return files


def labels(files: list[Path]) -> list[str]:
    """The names of their folders."""
    return [file.parent.name for file in files]
