"""Minibatches of a data set's classes: ordinary supervised training in the shape of a task family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.data.examples import LabelledExamples
from metaft.data.images import LabelledImages, as_numbers
from metaft.errors import MetaftError
from metaft.seeds import require_seed
from metaft.tasks.batch import TaskBatch
from metaft.tasks.family import Kind
from metaft.tasks.random import generator


@dataclass(frozen=True)
class Minibatch(TaskBatch):
    """A minibatch that knows which examples it holds.

    Args:
        rows: ``int64 [tasks]``, each example's place in the images it was drawn from.
    """

    rows: Tensor = field(kw_only=True)

    def to(self, device: torch.device | str) -> Minibatch:
        """The same minibatch on another device."""
        return Minibatch(*(t.to(device) for t in self.parts()), layout=self.layout, rows=self.rows.to(device))

    def __getitem__(self, tasks: slice) -> Minibatch:
        return Minibatch(*(t[tasks] for t in self.parts()), layout=self.layout, rows=self.rows[tasks])


@dataclass(frozen=True)
class Minibatches:
    """Images of all classes in a new order every epoch; each is a task without support and with one query.

    Args:
        images: the classes to tell apart, images or texts.
        shift: each image is moved by up to so many pixels along both axes, at random; what comes in is 0.
        seed: which sequence of minibatches.
        dataset: the data set's name, for the record.
        split: the split's name, for the record.
        details: the data set's options, JSON-able, for the record.

    Raises:
        MetaftError: if the shift is negative, or would move the whole image out.
    """

    images: LabelledExamples = field(repr=False)
    shift: int = 0
    seed: int = 0
    dataset: str = "images"
    split: str = "train"
    details: Mapping[str, object] = field(default_factory=dict, hash=False)
    kind: ClassVar[Kind] = "classification"

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if not isinstance(self.images, LabelledImages):
            if self.shift:
                raise MetaftError(f"shift = {self.shift}: these are no images, and cannot be moved")
            return
        if not 0 <= self.shift < min(self.input_shape[1:]):
            raise MetaftError(
                f"shift = {self.shift}: images of {self.input_shape[1]}×{self.input_shape[2]} pixels can be moved by "
                f"0 to {min(self.input_shape[1:]) - 1}"
            )

    @property
    def outputs(self) -> int:
        """One score a class."""
        return self.images.classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of an image ``(channels, height, width)``, of a text ``(places,)``, the longest's."""
        return self.images.input_shape

    def batch(self, index: int, tasks: int) -> Minibatch:
        """Draw the index-th minibatch; pure in (seed, split, index, tasks).

        Args:
            index: which minibatch; an epoch leaves out the few images that do not fill one.
            tasks: how many images.

        Returns:
            Images, float32 in [0, 1], or texts as queries, ``[tasks, 1, *input]``, with int64 class labels;
            support sets of no examples; and which images they are.

        Raises:
            MetaftError: if there are not so many images.
        """
        count = len(self.images)
        if tasks > count:
            raise MetaftError(
                f"a minibatch of {tasks} examples asked of {self.dataset} ({self.split}), which has {count}"
            )
        epoch, place = divmod(index, count // tasks)
        rows = _order(self.seed, f"{self.dataset}/{self.split}/epoch", epoch, count)[
            place * tasks : (place + 1) * tasks
        ]
        x = self._taken(rows, index).unsqueeze(1)
        # Classes lie side by side: an image's class is the last that starts at it or before.
        y = torch.searchsorted(self.images.starts, rows, right=True).unsqueeze(1) - 1
        return Minibatch(x[:, :0], y[:, :0], x, y, layout=self.images.layout, rows=rows)

    def _taken(self, rows: Tensor, index: int) -> Tensor:
        if isinstance(self.images, LabelledImages) and self.shift:
            return as_numbers(self._moved(self.images.images[rows], index))
        return self.images.take(rows)

    @property
    def run_files(self) -> dict[str, str]:
        """What a run keeps beside its weights."""
        return self.images.run_files

    def _moved(self, images: Tensor, index: int) -> Tensor:
        """Each image moved by its own random offset, ``uint8 [images, channels, height, width]``."""
        if not self.shift:
            return images
        height, width = images.shape[-2:]
        draw = generator(self.seed, f"{self.dataset}/{self.split}/shift", index)
        offsets = torch.from_numpy(draw.integers(0, 2 * self.shift + 1, (2, len(images), 1)))
        padded = F.pad(images, (self.shift,) * 4)
        rows, columns = offsets[0] + torch.arange(height), offsets[1] + torch.arange(width)
        each = torch.arange(len(images))[:, None, None]
        return padded.movedim(1, -1)[each, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)

    def describe(self) -> dict[str, object]:
        """The settings that identify this family."""
        return {
            **self.details,
            **self.images.details,
            "family": "minibatches",
            "dataset": self.dataset,
            "split": self.split,
            "classes": self.images.classes,
            "input_shape": list(self.input_shape),
            "shift": self.shift,
            "seed": self.seed,
        }


@lru_cache(maxsize=2)
def _order(seed: int, purpose: str, epoch: int, count: int) -> Tensor:
    """All images once, ``int64 [count]``."""
    return torch.from_numpy(generator(seed, purpose, epoch).permutation(count).astype(np.int64))
