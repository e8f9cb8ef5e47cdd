"""Tasks of a batch divided into chunks, and chunks among threads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from metaft.errors import MetaftError, first_line
from metaft.inner.batching import has_large_images, images_on_cpu, is_heavy
from metaft.kept import kept
from metaft.outer.refusals import refusal
from metaft.tasks.batch import TaskBatch

Result = TypeVar("Result")
POOL = "metaft-chunks"
ALONE = "task by task"
MOST_ADAPTED = 2**24
"""Numbers that adapt in the tasks computed together on a CPU: 64 MiB of float32, several times while they do."""
log = logging.getLogger("metaft")


def map_chunks(
    job: Callable[[TaskBatch], Result],
    batch: TaskBatch,
    workers: int = 1,
    size: int | None = None,
    owner: object | None = None,
) -> list[Result]:
    """Run a job on every chunk of a batch.

    Args:
        job: what to do with some of the tasks.
        batch: all tasks.
        workers: threads among which the chunks are divided. Chunks of large images are computed one after another
            instead, with so many threads inside an operator: that is as quick there, holds one chunk's activations at a
            time, and threads of our own could not keep the C library's memory of more than 64 MiB a tensor.
        size: tasks a chunk; if None, one where examples are images on a CPU, otherwise all.
        owner: whose job it is, if tasks may turn out not to be batched (see ``batched_or_alone``).

    Returns:
        The results, in the order of the tasks.
    """
    size = size or default_size(batch)
    if owner is not None:
        return batched_or_alone(owner, batch.tasks, size, lambda size: map_chunks(job, batch, workers, size))
    chunks = [batch] if 0 < batch.tasks <= size else [batch[i : i + size] for i in range(0, batch.tasks, size)]
    # A job that maps chunks itself does so in its own thread: one that waits for its own pool would wait for ever.
    if workers == 1 or threading.current_thread().name.startswith(POOL):
        return [job(chunk) for chunk in chunks]
    if has_large_images(batch):
        with _threads_in_operators(workers):
            return [job(chunk) for chunk in chunks]
    return list(_pool(workers).map(job, chunks))


def batched_or_alone(owner: object, tasks: int, size: int, attempt: Callable[[int], Result]) -> Result:
    """Compute tasks together, or one by one what cannot be batched.

    Args:
        owner: whose computation it is: what was found out about it is kept with it (see ``metaft.kept``).
        tasks: how many there are.
        size: how many to compute together.
        attempt: the computation, given how many tasks to compute together.

    Returns:
        What the attempt gives.

    Raises:
        MetaftError: where torch cannot differentiate it at all (see ``metaft.outer.refusals``).
        Exception: what else the attempt raises task by task.
    """
    if size == 1 or tasks <= 1 or ALONE in kept(owner):
        return _alone(attempt, 1 if ALONE in kept(owner) else size)
    try:
        return attempt(size)
    except MetaftError:
        raise
    except Exception as error:
        reason = error
    # Outside of the handler: an error of this attempt is the user's own, and says nothing of batching.
    result = _alone(attempt, 1)
    kept(owner).once(ALONE, lambda: True)
    log.warning("tasks are computed one by one, which is slower but the same: together, %s", first_line(reason))
    return result


def _alone(attempt: Callable[[int], Result], size: int) -> Result:
    try:
        return attempt(size)
    except MetaftError:
        raise
    except Exception as error:
        other = refusal(error)
        if other is error:
            raise
    raise other


def default_size(batch: TaskBatch, params: dict[str, Tensor] | None = None) -> int:
    """How many tasks to compute together: one where examples are images on a CPU or the network is heavy, else all.

    It does not depend on the workers, so that sums are formed in the same order on any number of them.
    """
    alone = images_on_cpu(batch) or is_heavy(batch, params or {})
    return 1 if alone else max(batch.tasks, 1)


def bounded_size(batch: TaskBatch, adapts: int) -> int:
    """As `default_size`, but of a large network no more tasks than memory bears.

    Args:
        batch: the tasks.
        adapts: how many numbers adapt in each.
    """
    size = default_size(batch)
    return size if batch.query_x.device.type != "cpu" else max(1, min(size, MOST_ADAPTED // max(adapts, 1)))


@contextmanager
def _threads_in_operators(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=4)
def _pool(workers: int) -> ThreadPoolExecutor:
    """Worker threads, each with one thread inside an operator: a second one there buys nothing on small images."""
    return ThreadPoolExecutor(workers, POOL, initializer=torch.set_num_threads, initargs=(1,))
