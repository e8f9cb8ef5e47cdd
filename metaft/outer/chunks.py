"""Tasks of a batch divided into chunks, and chunks among threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

from metaft.tasks.batch import TaskBatch

# Images are taken a few tasks at a time, so that their activations stay in a core's cache (4 to 8 measured best, and
# fewer share out better). It is a fixed number, whatever the workers: sums are formed in the same order on any.
IMAGE_CHUNK = 4

Result = TypeVar("Result")


def map_chunks(
    job: Callable[[TaskBatch], Result], batch: TaskBatch, workers: int = 1, size: int | None = None
) -> list[Result]:
    """Run a job on every chunk of a batch.

    Args:
        job: what to do with some of the tasks.
        batch: all tasks.
        workers: threads among which the chunks are divided.
        size: tasks a chunk; if None, a few where examples are images on a CPU, otherwise all.

    Returns:
        The results, in the order of the tasks.
    """
    images = batch.query_x.dim() >= 5 and batch.query_x.device.type == "cpu"
    size = size or (IMAGE_CHUNK if images else max(batch.tasks, 1))
    chunks = [batch[i : i + size] for i in range(0, batch.tasks, size)]
    if workers == 1:
        return [job(chunk) for chunk in chunks]
    return list(_pool(workers).map(job, chunks))


@lru_cache(maxsize=4)
def _pool(workers: int) -> ThreadPoolExecutor:
    """Worker threads, each with one thread inside an operator: a second one there buys nothing on small images."""
    return ThreadPoolExecutor(workers, "metaft", initializer=torch.set_num_threads, initargs=(1,))
