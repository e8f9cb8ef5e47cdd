"""What each kind of generation of a distillation would need; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from metaft.assembly.frozen_base import frozen_base
from metaft.assembly.networks import build_classifier
from metaft.commands.distill.data import DistillData
from metaft.commands.distill.generations import build_student
from metaft.settings.distill import DistillConfig, generation_config
from metaft.training.dry_run import DryRun, dry_run


def dry_runs(config: DistillConfig, prepared: tuple[DistillData, nn.Module | None]) -> Iterator[tuple[str, DryRun]]:
    """Try generation 0, if it is to be trained, and one that is taught: by a network that is not trained yet.

    Args:
        config: the settings.
        prepared: as ``prepare`` made it.

    Yields:
        What it is, and what its run would need.

    Raises:
        MetaftError: as ``metaft.training.dry_run.dry_run``.
    """
    data, teacher = prepared
    per_epoch, temperature = data.per_epoch(config.batch_size), config.temperatures[0]
    first = generation_config(config, 0, per_epoch, temperature)
    for generation in (0, 1) if teacher is None else (1,):
        own = generation_config(config, generation, per_epoch, temperature).model_copy(update={"cache": "off"})
        before = None if generation == 0 else teacher or build_classifier(first, data.minibatches(first))
        student = build_student(own, data, before)
        base = frozen_base(own.model, student.module, student.params)
        yield f"generation {generation}", dry_run(student, data.minibatches(own), data.validation, own, base)
