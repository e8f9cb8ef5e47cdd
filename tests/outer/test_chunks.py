from __future__ import annotations

import threading

import torch

from metaft.outer.chunks import POOL, map_chunks
from metaft.tasks.batch import TaskBatch

X = torch.arange(8.0).view(8, 1, 1)
BATCH = TaskBatch(X, X, X, X)


def total(batch: TaskBatch) -> float:
    return float(batch.query_x.sum())


def test_chunks_come_back_in_the_order_of_the_tasks() -> None:
    for workers in (1, 2, 3):
        assert map_chunks(total, BATCH, workers, size=3) == [3.0, 12.0, 13.0]


def test_a_job_may_map_chunks_itself() -> None:
    found: list[list[list[float]]] = []

    def nested(batch: TaskBatch) -> list[float]:
        return map_chunks(total, batch, 2, size=1)

    thread = threading.Thread(target=lambda: found.append(map_chunks(nested, BATCH, 2, size=2)), daemon=True)
    thread.start()
    thread.join(60)
    assert found == [[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]], "every thread waits for another"


def test_chunks_of_large_images_have_the_threads_inside_their_operators() -> None:
    before = torch.get_num_threads()
    for side, expected in ((28, {(1, True)}), (64, {(3, False)})):
        x = torch.zeros(4, 5, 1, side, side)

        def told(_: TaskBatch) -> tuple[int, bool]:
            return torch.get_num_threads(), threading.current_thread().name.startswith(POOL)

        assert set(map_chunks(told, TaskBatch(x, x, x, x), 3)) == expected
        assert torch.get_num_threads() == before
