"""What soft labels know that labels do not: the examples that are also like another class ("a cat is also a dog")."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from torch import Tensor

from metaft.data.images import LabelledImages
from metaft.errors import MetaftError
from metaft.evaluation.style import BLUE, GREY, VERMILLION, blank, save
from metaft.tasks import answers

COLUMNS, ROWS, BARS = 4, 3, 3
LONGEST = 10
"""Characters of a class's name that have room beside a bar; classes of longer names are shown by an example."""


def telling_examples(probabilities: Tensor, labels: Tensor, count: int) -> Tensor:
    """The examples whose soft labels say most about another class than their own.

    Args:
        probabilities: ``[examples, classes]``, the soft labels.
        labels: ``int64 [examples]``.
        count: how many.

    Returns:
        ``int64 [≤ count]`` rows, of those answered rightly: the larger the probability of the runner-up the earlier;
        one for each pair of class and runner-up.
    """
    classes = probabilities.shape[1]
    others = probabilities.scatter(1, labels.unsqueeze(1), -1.0)
    runner_up = others.max(1)
    given, none = answers.answered(probabilities)
    right = ((given == labels) & ~none).nonzero().flatten()
    order = right[runner_up.values[right].argsort(descending=True, stable=True)]
    pairs = (labels * classes + runner_up.indices)[order].tolist()
    first = list[int]()
    seen = set[int]()
    for place, pair in enumerate(pairs):
        if pair not in seen:
            seen.add(pair)
            first.append(place)
        if len(first) == count:
            break
    return order[first]


def soft_label_figure(images: LabelledImages, scores: Tensor, temperature: float) -> Figure:
    """Draw the examples whose soft labels say most about other classes, each with its three likeliest classes.

    Args:
        images: the examples, class by class.
        scores: a teacher's scores of them, ``[examples, classes]``.
        temperature: at which a student is taught.

    Returns:
        The figure.

    Raises:
        MetaftError: if the scores do not fit the images, or no example is answered rightly.
    """
    if tuple(scores.shape) != (len(images.images), images.classes):
        raise MetaftError(
            f"soft labels {list(scores.shape)} do not fit {len(images.images)} images of {images.classes} classes"
        )
    labels = torch.repeat_interleave(torch.arange(images.classes), images.counts)
    soft = answers.probabilities(scores.double() / temperature)
    shown = telling_examples(soft, labels, COLUMNS * ROWS)
    if not len(shown):
        raise MetaftError("no example is answered rightly: there are no soft labels worth showing")
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = blank(2.6 * columns, 1.35 * rows + 0.5)
    figure.suptitle(
        f"Soft labels at temperature {temperature:g} of examples that are also like another class", fontsize=10
    )
    cells = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[1.0, 1.35] * columns)
    for axes in cells.flat:
        axes.axis("off")
    for place, row in enumerate(shown.tolist()):
        left, right = cells[place // columns, 2 * (place % columns) : 2 * (place % columns) + 2]
        _image(left, images.images[row])
        _bars(right, images, soft[row], int(labels[row]), float(soft[shown].max()))
    return figure


def draw_soft_labels(images: LabelledImages, scores: Tensor, temperature: float, path: Path) -> bool:
    """Write `soft_label_figure` as PNG where there is something to show.

    Args:
        images: as there.
        scores: as there.
        temperature: as there.
        path: the file.

    Returns:
        Whether there is: a teacher that answers nothing rightly has no soft labels worth showing.
    """
    labels = torch.repeat_interleave(torch.arange(images.classes), images.counts)
    given, none = answers.answered(scores)
    if not bool(((given == labels) & ~none).any()):
        return False
    save(soft_label_figure(images, scores, temperature), path)
    return True


def _image(axes: Axes, image: Tensor) -> None:
    axes.imshow(_pixels(image), cmap="Greys", vmin=0, vmax=255, interpolation="nearest")


def _pixels(image: Tensor) -> np.ndarray:
    return (image.movedim(0, -1) if len(image) == 3 else image[0]).numpy()


def _bars(axes: Axes, images: LabelledImages, soft: Tensor, label: int, longest: float) -> None:
    """The likeliest classes of one example: its own in blue, others in vermillion; one scale for all examples."""
    top = soft.topk(min(BARS, len(soft)))
    for place, (value, number) in enumerate(zip(top.values.tolist(), top.indices.tolist(), strict=True)):
        colour = BLUE if number == label else VERMILLION
        length = value / longest
        axes.barh(place, length, height=0.62, color=colour)
        axes.text(length + 0.02, place, f"{100 * value:.0f} %", va="center", fontsize=8, color=GREY)
        if max(map(len, images.names)) <= LONGEST:
            axes.text(-0.04, place, images.names[number], va="center", ha="right", fontsize=9)
        else:
            example = images.images[int(images.starts[number])]
            picture = OffsetImage(_pixels(example), zoom=20 / example.shape[-1], cmap="Greys")
            axes.add_artist(AnnotationBbox(picture, (-0.14, place), frameon=False, pad=0))
    axes.set_xlim(-0.3, 1.25)
    axes.set_ylim(BARS - 0.4, -0.6)
