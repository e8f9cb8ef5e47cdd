"""A fingerprint of tasks: two that agree were drawn from the same data, in the same way."""

from __future__ import annotations

import hashlib

from metaft.tasks.batch import TaskBatch


def digest(batch: TaskBatch) -> str:
    """The sha256 over a batch's tensors: their types, shapes and bytes.

    Args:
        batch: the tasks, ``[tasks, examples, ...]``.

    Returns:
        64 hexadecimal digits.
    """
    total = hashlib.sha256()
    for tensor in batch.tensors():
        array = tensor.detach().cpu().contiguous().numpy()
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()
