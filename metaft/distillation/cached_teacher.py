"""A teacher's answers kept on disk, where each example comes unchanged every epoch and that saves time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from metaft.data.cache import Entry, cached
from metaft.distillation.teacher import Answers, Teacher
from metaft.errors import MetaftError, nearest
from metaft.tasks.batch import TaskBatch
from metaft.tasks.minibatches import Minibatch, Minibatches

Caching = Literal["auto", "on", "off"]
MOST_BYTES = 2**29
"""Of a table that is made unasked; larger, and the teacher answers each minibatch anew."""


@dataclass(frozen=True)
class CachedAnswers:
    """A table of what the teacher says to each example of a data set.

    Args:
        table: ``[examples, width]``.
        described: what identifies the teacher.
    """

    table: Tensor = field(repr=False)
    described: dict[str, object]

    @property
    def width(self) -> int:
        """How many numbers there are for an example."""
        return self.table.shape[1]

    def __call__(self, batch: TaskBatch) -> Tensor:
        """Look a minibatch's examples up, ``[examples, width]``."""
        if not isinstance(batch, Minibatch):
            raise MetaftError("a cached teacher answers for minibatches of its own data set alone; say cache='off'")
        return self.table[batch.rows.cpu()].to(batch.query_x.device)

    def describe(self) -> dict[str, object]:
        """What identifies the teacher."""
        return self.described


def answers(teacher: Teacher, family: Minibatches, cache: Caching = "auto", seen: int | None = None) -> Answers:
    """The teacher's answers for training on a family: looked up, or computed as they are asked for.

    The file's key holds the teacher's weights, the data, what is answered and one answer; there is no file for images
    that are moved at random. Scores are kept before any temperature, so that one file serves all.

    Args:
        teacher: who answers.
        family: what is trained on.
        cache: "on", "off", or "auto": where no image is moved, the student sees more images than the data set has,
            and the table is no larger than 512 MiB.
        seen: how many images the student will be shown in all; None for many epochs.

    Returns:
        What to give to a student. Both kinds give the same scores up to rounding.

    Raises:
        MetaftError: if caching is unknown, or asked for where images are moved.
    """
    if cache not in get_args(Caching):
        raise MetaftError(f"unknown caching {cache!r}{nearest(str(cache), get_args(Caching))}")
    if cache == "on" and family.shift:
        raise MetaftError(
            f"cache = 'on' and shift = {family.shift}: images that are moved at random are answered as they come; "
            "say cache = 'auto'"
        )
    images = family.images
    small = len(images) * teacher.width * torch.float32.itemsize <= MOST_BYTES
    pays = not family.shift and small and (seen is None or seen > len(images))
    if cache == "off" or (cache == "auto" and not pays):
        return teacher
    # Weights and structure do not tell how a network of one's own computes: its answer to one image does.
    one = teacher.answer(images.take(torch.tensor([0])))
    sample = hashlib.sha256(one.numpy().data).hexdigest()[:16]
    key = f"teacher-{teacher.digest}-{sample}-{images.digest}"
    entry = cached(key, lambda: Entry({"answers": teacher.table(images)}, ()))
    return CachedAnswers(entry.tensors["answers"], teacher.describe())
