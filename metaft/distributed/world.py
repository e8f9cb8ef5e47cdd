"""What a program asks of all ranks, as a process on its own answers it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from metaft.distributed.place import Place
from metaft.distributed.share import Share
from metaft.tasks.batch import TaskBatch

Gradient = TypeVar("Gradient", bound=Any)
Job = Callable[[TaskBatch, int], Tensor]


class World:
    """A process on its own: everything is its share, and nothing is exchanged."""

    place = Place()

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return self.place.size

    @property
    def first(self) -> bool:
        """Whether this rank writes files and speaks."""
        return self.place.first

    def share(self, batch: TaskBatch) -> Share:
        """This rank's tasks of a batch that every rank has drawn.

        Args:
            batch: all tasks.

        Returns:
            Its tasks.
        """
        return Share(batch, 0, batch.tasks)

    def agree(self, out: Gradient, share: Share, seconds: float, signum: int) -> tuple[Gradient, float]:
        """Make the meta-gradients of the shares that of the batch, in one exchange.

        Args:
            out: of this rank's share: has ``loss``, ``grads`` and ``losses``, and may have ``gathered``.
            share: the tasks it is of.
            seconds: that the run has taken by this rank's clock.
            signum: signal that asked this rank to stop, or 0.

        Returns:
            The gradient of the whole batch (and the mean of what was gathered), and the time by rank 0's clock.
        """
        return out, seconds

    def stopping(self, signum: int) -> int:
        """The signal that ends the run, the same on every rank.

        Args:
            signum: signal that asked this rank to stop, or 0.

        Returns:
            The signal that any rank had noted at the latest ``agree``; on its own, a process heeds it at once.
        """
        return signum

    def mean(self, values: list[float], share: Share) -> list[float]:
        """Means over the shares made means over the batch.

        Args:
            values: of this rank's share, as many on every rank.
            share: the tasks they are of.

        Returns:
            Those of the whole batch.
        """
        return values

    def map_tasks(self, job: Job, batches: Iterable[TaskBatch]) -> Tensor:
        """Do a job on every batch, each by one rank.

        Args:
            job: ``(batch, place of its first task among all) → [..., tasks]``, float64; the other dimensions must not
                depend on the batch.
            batches: the same on every rank; each is left whole, so that results do not depend on how many ranks
                there are.

        Returns:
            The results joined along the last dimension, on every rank, bit for bit those of one process.
        """
        results, first = [], 0
        for batch in batches:
            results.append(job(batch, first))
            first += batch.tasks
        return torch.cat(results, dim=-1) if results else torch.empty(0, dtype=torch.float64)

    def from_first(self, content: bytes) -> bytes:
        """What rank 0 has.

        Args:
            content: on rank 0, what to send.

        Returns:
            Rank 0's content.
        """
        return content

    def require_same(self, what: str, content: bytes) -> None:
        """Check that all ranks have the same.

        Args:
            what: for the message.
            content: this rank's.

        Raises:
            MetaftError: naming the first rank that differs from rank 0.
        """

    def seed(self, seed: int, iteration: int) -> None:
        """Give every rank random numbers of its own in an iteration, the same ones after a resume."""

    def device(self, device: torch.device) -> torch.device:
        """The device of this rank.

        Args:
            device: what was asked for.

        Returns:
            The accelerator of this rank, where an accelerator was asked for.

        Raises:
            MetaftError: if there are more ranks on this machine than accelerators.
        """
        return device

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Tell the others if this rank fails."""


ALONE = World()
"""The world of a program that torchrun has not started."""
