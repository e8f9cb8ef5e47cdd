"""What several ranks of one training run need to be one run: the same start, going on after a restart."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from metaft.distributed.place import Place
from metaft.distributed.world import World
from metaft.runs.checkpoint import PARTS, Checkpoint
from metaft.tasks.digest import digest
from metaft.training.job import Job
from metaft.training.state import TrainState


def start_alike(world: World, state: TrainState, job: Job) -> None:
    """Give every rank the state of rank 0, which alone reads checkpoints: no machine goes on from an older one.

    Args:
        world: the ranks.
        state: of this rank; becomes rank 0's.
        job: what all ranks must have been started with, down to the data of its tasks.

    Raises:
        MetaftError: if a rank differs from rank 0.
    """
    if world.size > 1:
        world.require_same("settings", json.dumps(job.describe(), sort_keys=True).encode())
        world.require_same("data", digest(job.family.batch(0, job.train.tasks)).encode())
        state.restore(_unpacked(world.from_first(_packed(state.checkpoint()))))


def after_restart(place: Place, folder: Path, resume: bool, overwrite: bool) -> tuple[bool, bool]:
    """What to do with the run directory when torchrun starts the ranks again after one has died.

    Args:
        place: of this rank.
        folder: the run directory.
        resume: as asked for.
        overwrite: as asked for.

    Returns:
        Resume and overwrite: after a restart, go on with the run that the first start has begun.
    """
    if place.restarts and (folder / "run.json").exists():
        return True, False
    return resume, overwrite


def _packed(stored: Checkpoint) -> bytes:
    named = {f"{part}/{name}": tensor for part in PARTS for name, tensor in getattr(stored, part).items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
    progress = bytearray(json.dumps(stored.progress).encode())
    return safetensors.torch.save(tensors | {"progress": torch.frombuffer(progress, dtype=torch.uint8)})


def _unpacked(content: bytes) -> Checkpoint:
    tensors = safetensors.torch.load(content)
    progress = json.loads(bytes(tensors.pop("progress").numpy()))
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    return Checkpoint(progress, **parts)  # type: ignore[arg-type]
