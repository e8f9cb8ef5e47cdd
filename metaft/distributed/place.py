"""Where torchrun has put this process: read from the environment, before torch.distributed is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from metaft.errors import MetaftError

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """One rank among all.

    Args:
        rank: 0 to size − 1; rank 0 writes all files.
        size: how many ranks there are.
        local_rank: the rank among those of this machine.
        local_size: how many of them are on this machine.
        address: of the machine where the ranks meet.
        port: to meet at.
        restarts: how often torchrun has started this program again.
        agent: whether torchrun itself holds the meeting point, and not rank 0.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    address: str = ""
    port: int = 0
    restarts: int = 0
    agent: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0


def place(environment: Mapping[str, str] | None = None) -> Place:
    """Read the variables that torchrun sets.

    Args:
        environment: by default the process's own.

    Returns:
        The place; that of a process on its own if neither RANK nor WORLD_SIZE is set.

    Raises:
        MetaftError: if they are incomplete or contradict each other.
    """
    env = os.environ if environment is None else environment
    if "RANK" not in env and "WORLD_SIZE" not in env:
        return Place()
    missing = [name for name in NEEDED if name not in env]
    if missing:
        given = ", ".join(name for name in NEEDED if name in env)
        raise MetaftError(
            f"the environment has {given} but not {', '.join(missing)}; start several ranks with torchrun, "
            "or unset these variables"
        )
    size, port = _whole(env, "WORLD_SIZE", 1), _whole(env, "MASTER_PORT", 0)
    rank = _whole(env, "RANK", 0)
    if rank >= size:
        raise MetaftError(f"RANK = {rank} needs a WORLD_SIZE above it, not {size}; ranks are counted from 0")
    if port > 65535:
        raise MetaftError(f"MASTER_PORT = {port}: should be at most 65535")
    return Place(
        rank,
        size,
        _whole(env, "LOCAL_RANK", 0) if "LOCAL_RANK" in env else 0,
        _whole(env, "LOCAL_WORLD_SIZE", 1) if "LOCAL_WORLD_SIZE" in env else 1,
        env["MASTER_ADDR"],
        port,
        _whole(env, "TORCHELASTIC_RESTART_COUNT", 0) if "TORCHELASTIC_RESTART_COUNT" in env else 0,
        env.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _whole(env: Mapping[str, str], name: str, least: int) -> int:
    text = env[name]
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise MetaftError(f"{name} = {text}: should be a whole number of at least {least}, as torchrun sets it")
    return int(text)
