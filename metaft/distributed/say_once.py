"""What all ranks know is printed by one of them."""

from __future__ import annotations

import hashlib

from metaft.distributed.place import place
from metaft.errors import MetaftError


def is_first_to_say(message: str) -> bool:
    """Whether no other rank has said the same.

    Args:
        message: what is to be printed.

    Returns:
        True without torchrun's environment, and where the meeting point does not answer.
    """
    try:
        at = place()
        if at.size == 1:
            return True
        # torch.distributed takes a second to load, and a process on its own does without.
        from metaft.distributed.liveness import connect

        return connect(at, seconds=5.0).add(f"said/{hashlib.sha256(message.encode()).hexdigest()}", 1) == 1
    except (RuntimeError, MetaftError):
        return True
