"""Frozen networks that answer for examples, one of them or an ensemble."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from metaft.data.examples import LabelledExamples
from metaft.data.layout import Layout
from metaft.errors import MetaftError, nearest
from metaft.models.heads import without_head
from metaft.tasks.answers import log_probabilities
from metaft.tasks.batch import TaskBatch

Output = Literal["scores", "features"]
CHUNK = 256
"""Examples in one forward pass over a whole data set."""


class Answers(Protocol):
    """What a student asks of its teacher."""

    @property
    def width(self) -> int:
        """How many numbers it answers with for an example."""
        ...

    def __call__(self, batch: TaskBatch) -> Tensor:
        """Answer for the examples of a minibatch, ``[examples, width]``."""
        ...

    def describe(self) -> dict[str, object]:
        """What identifies the teacher, as JSON-able values."""
        ...


class Teacher:
    """A frozen copy of one network, or of several whose probabilities are averaged, in evaluation mode.

    Scores of an ensemble are the logarithms of its members' mean probabilities at temperature 1: a softmax gives those
    back. A single network gives its own logits.

    Args:
        models: the network or networks; copied.
        input_shape: of one example, ``(channels, height, width)``; of a text ``(places,)``.
        output: "scores", or the "features" that one network's head is given.
        layout: what an example is: "images", or "sequences" of words.

    Raises:
        MetaftError: if there is no network, the members of an ensemble tell different classes apart, or features are
            asked of several networks, or of one without a head.
    """

    def __init__(
        self,
        models: nn.Module | Sequence[nn.Module],
        input_shape: tuple[int, ...],
        output: Output = "scores",
        layout: Layout = "images",
    ) -> None:
        given = [models] if isinstance(models, nn.Module) else list(models)
        if output not in get_args(Output):
            raise MetaftError(f"unknown output of a teacher {output!r}{nearest(str(output), get_args(Output))}")
        if not given:
            raise MetaftError("a teacher needs one network at least, and none was given")
        if output == "features" and len(given) > 1:
            raise MetaftError(f"hidden representations are one network's: give one teacher, not {len(given)}")
        own = [without_head(model) if output == "features" else copy.deepcopy(model) for model in given]
        self.output = output
        self.models = tuple(model.eval().requires_grad_(False) for model in own)
        with torch.no_grad():
            example = torch.zeros(1, *input_shape, dtype=torch.int64 if layout == "sequences" else torch.float32)
            widths = [model(example).flatten(1).shape[1] for model in self.models]
        if len(set(widths)) > 1:
            raise MetaftError(f"the teachers of an ensemble tell {widths} classes apart; they need the same ones")
        self.width = widths[0]

    @torch.no_grad()
    def answer(self, x: Tensor) -> Tensor:
        """Answer for examples.

        Args:
            x: ``[examples, *input]``, float, or whole numbers of words.

        Returns:
            ``[examples, width]``.
        """
        found = [model.to(x.device)(x).flatten(1) for model in self.models]
        return found[0] if len(found) == 1 else mean_probabilities(torch.stack(found))

    def __call__(self, batch: TaskBatch) -> Tensor:
        """Answer for a minibatch's examples as they are; images moved or not."""
        return self.answer(batch.query_x.flatten(0, 1))

    def table(self, examples: LabelledExamples) -> Tensor:
        """Answer for a whole data set, piece by piece.

        Args:
            examples: images or texts.

        Returns:
            ``[examples, width]``, float32.
        """
        return examples.each(self.answer, CHUNK)

    @cached_property
    def digest(self) -> str:
        """A sha256 over structure, parameters and buffers of all networks."""
        total = hashlib.sha256()
        for model in self.models:
            total.update(repr(model).encode())
            for name, value in sorted(model.state_dict().items()):
                total.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
                total.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return total.hexdigest()

    def describe(self) -> dict[str, object]:
        """What identifies it."""
        return {"teacher": self.digest, "teachers": len(self.models), "teacher_output": self.output}


def mean_probabilities(scores: Tensor) -> Tensor:
    """The scores of an ensemble: the logarithm of its members' mean probabilities.

    Args:
        scores: ``[members, ..., classes]``.

    Returns:
        ``[..., classes]``.
    """
    return log_probabilities(scores).logsumexp(0) - torch.tensor(float(len(scores))).log()
