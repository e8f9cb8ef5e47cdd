"""Ranks as threads of one process: everything but the wire."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor

from metaft.distributed.place import Place
from metaft.distributed.ranks import Ranks


class Wire:
    """Adds up what all threads bring, in the order of ranks."""

    def __init__(self, size: int) -> None:
        self.brought: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=60)

    def sum(self, rank: int, tensor: Tensor) -> Tensor:
        self.brought[rank] = tensor.clone()
        self.barrier.wait()
        shapes = {t.shape for t in self.brought}
        assert len(shapes) == 1, shapes
        total = sum(self.brought[1:], self.brought[0])
        self.barrier.wait()
        return tensor.copy_(total)


class ThreadRank(Ranks):
    def __init__(self, rank: int, size: int, wire: Wire) -> None:
        super().__init__(Place(rank, size), None)  # type: ignore[arg-type]
        self.wire = wire

    def _sum(self, tensor: Tensor) -> Tensor:
        return self.wire.sum(self.place.rank, tensor)

    def _part(self, reason: str, own: bool = False) -> None:
        self.wire.barrier.abort()


def on_ranks(size: int, job: Callable[[ThreadRank], Any]) -> list[Any]:
    """What a job gives on each of several ranks; the first error is raised."""
    wire = Wire(size)
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            with ThreadRank(rank, size, wire) as world:
                results[rank] = job(world)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    real = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    if real:
        raise real[0]
    assert not errors
    return results
