"""A data set of one's own, small enough to train on in a test: each class a pattern under noise."""

import torch

from metaft.data.images import LabelledImages

SIZE, EACH = 16, 12
CLASSES = {"train": 6, "val": 3, "test": 3}


def images(split: str) -> LabelledImages:
    """Classes of a split, ``EACH`` images of ``SIZE`` × ``SIZE`` pixels each."""
    draw = torch.Generator().manual_seed(list(CLASSES).index(split))
    classes = CLASSES[split]
    pattern = torch.rand(classes, 1, 1, SIZE, SIZE, generator=draw) > 0.5
    noise = torch.rand(classes, EACH, 1, SIZE, SIZE, generator=draw)
    mixed = (255 * (0.6 * pattern + 0.4 * noise)).to(torch.uint8).flatten(0, 1)
    return LabelledImages(mixed, torch.full((classes,), EACH), tuple(f"{split}-{i}" for i in range(classes)))


def others(split: str) -> LabelledImages:
    """The same images as classes of other names."""
    found = images(split)
    return LabelledImages(found.images, found.counts, tuple(f"other-{name}" for name in found.names))
