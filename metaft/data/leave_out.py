"""A data set without the examples of some classes, which stay classes all the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from metaft.data.examples import LabelledExamples
from metaft.errors import MetaftError, nearest


def leave_out(images: LabelledExamples, classes: Sequence[str]) -> LabelledExamples:
    """Take the examples of some classes away: who learns from the rest still has an output for each (Hinton 2015, §3).

    Args:
        images: the examples.
        classes: names of those to leave without one.

    Returns:
        The rest, all classes in their order.

    Raises:
        MetaftError: if there is no such class, or nothing would be left.
    """
    for name in classes:
        if name not in images.names:
            raise MetaftError(
                f"cannot leave out class {name!r}: there is none of that name{nearest(name, images.names)}"
            )
    gone = torch.tensor([name in classes for name in images.names])
    if bool((images.counts * ~gone == 0).all()):
        raise MetaftError(
            f"leaving out {len(set(classes))} of {images.classes} classes leaves no example to learn from"
        )
    counts = images.counts.where(~gone, 0)
    return images.keep((~gone.repeat_interleave(images.counts)).nonzero().flatten(), counts)
