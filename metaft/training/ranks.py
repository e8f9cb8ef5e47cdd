"""What several ranks of one training run need to be one run: the same start, one writer, going on after a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from metaft.distributed.place import Place
from metaft.distributed.world import World
from metaft.learners.learner import MetaLearner
from metaft.runs.checkpoint import PARTS, Checkpoint
from metaft.settings.train import TrainSettings
from metaft.tasks.digest import digest
from metaft.tasks.family import TaskFamily
from metaft.training.state import TrainState


class NoMetrics:
    """Stands in for the log on ranks that do not write it."""

    def write(self, kind: str, iteration: int, values: dict[str, Any]) -> None:
        """Write nothing."""

    def scores(self, iteration: int, values: dict[str, float | None]) -> None:
        """Write nothing."""

    def text(self, name: str, content: str) -> None:
        """Write nothing."""


def start_alike(
    world: World, state: TrainState, settings: TrainSettings, learner: MetaLearner, family: TaskFamily
) -> None:
    """Give every rank the state of rank 0, which alone reads checkpoints: no machine goes on from an older one.

    Args:
        world: the ranks.
        state: of this rank; becomes rank 0's.
        settings: what all ranks must have been started with.
        learner: likewise.
        family: likewise, down to its data.

    Raises:
        MetaftError: if a rank differs from rank 0 in one of them.
    """
    if world.size == 1:
        return
    told = {"train": settings.model_dump(), "learner": learner.describe(), "family": family.describe()}
    world.require_same("settings", json.dumps(told, default=str, sort_keys=True).encode())
    world.require_same("data", digest(family.batch(0, settings.tasks)).encode())
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
    tensors: dict[str, Tensor] = {
        f"{part}/{name}": tensor.detach().cpu().contiguous()
        for part in PARTS
        for name, tensor in getattr(stored, part).items()
    }
    progress = bytearray(json.dumps(stored.progress).encode())
    return safetensors.torch.save(tensors | {"progress": torch.frombuffer(progress, dtype=torch.uint8)})


def _unpacked(content: bytes) -> Checkpoint:
    tensors = safetensors.torch.load(content)
    progress = json.loads(bytes(tensors.pop("progress").numpy()))
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    return Checkpoint(progress, parts["weights"], parts["average"], parts["best"], parts["optimiser"])
