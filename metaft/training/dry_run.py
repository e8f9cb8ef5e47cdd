"""What a run would need, found by one update of it; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from metaft.device import device_of_name
from metaft.distributed.place import place
from metaft.distributed.share import Share
from metaft.distributed.world import ALONE
from metaft.errors import MetaftError
from metaft.evaluation.peak_memory import peak_memory
from metaft.learners.learner import MetaLearner, set_progress
from metaft.outer.compiled import seconds_compiling
from metaft.outer.mean_gradient import MetaGradient
from metaft.runs.checkpoint import PARTS
from metaft.runs.frozen_base import FrozenBase, left_out
from metaft.settings.config import CommandSettings, validated
from metaft.settings.train import TrainSettings
from metaft.tables import OUTER
from metaft.tasks.batch import FIELDS
from metaft.tasks.family import TaskFamily
from metaft.training.callbacks.callbacks import Callbacks
from metaft.training.first_batch import require_first
from metaft.training.job import Job
from metaft.training.record import not_finite
from metaft.training.state import TrainState, kept_as_it_was
from metaft.training.stopping import StopRequest
from metaft.training.update import meta_update

TRAINED = ("meta-trained", "trained", "tuned")
"""What learners call a parameter that is."""


@dataclass(frozen=True)
class DryRun:
    """What a run would need.

    Args:
        batch: shapes of one batch, by name; what is empty is left out.
        parameters: numbers that the learner holds.
        trained: how many of them are trained.
        adapting: how many change with a task; None where the learner does not say it.
        memory: the most that the process held, in bytes; None where that cannot be measured.
        added: how much of it came with the updates.
        compiling: seconds of the first update that were spent on compiling.
        seconds: one update takes after the first.
        counted: what a batch holds, such as "tasks".
        speed: of these a second.
        left: seconds to the end of the run as it is set, validation and compiling not counted.
        checkpoint: bytes of one checkpoint.
        device: where it was computed.
    """

    batch: Mapping[str, tuple[int, ...]]
    parameters: int
    trained: int
    adapting: int | None
    memory: int | None
    added: int | None
    compiling: float
    seconds: float
    counted: str
    speed: float
    left: float
    checkpoint: int
    device: str


def dry_run(
    learner: MetaLearner,
    family: TaskFamily,
    validation: TaskFamily | None,
    config: CommandSettings,
    base: FrozenBase | None = None,
) -> DryRun:
    """Make an update to warm up and one that is timed, on a copy of the weights.

    Args:
        learner: what would be trained; it keeps its weights.
        family: the training tasks.
        validation: the validation tasks, if there are any.
        config: the full settings.
        base: what checkpoints leave out.

    Returns:
        What the run would need.

    Raises:
        MetaftError: for whatever the run would refuse at its start, or a loss that is not finite.
    """
    if place().size > 1:
        raise MetaftError("--dry-run is of one process; start it without torchrun")
    s = validated(TrainSettings, {name: getattr(config, name) for name in TrainSettings.model_fields})
    job = Job(learner, family, validation, s, config, base)
    Callbacks([s.callbacks] if s.callbacks else [], ALONE)
    device = device_of_name(s.device)
    optimiser = OUTER.make(s.outer, lr=s.outer_lr, schedule=s.schedule, warmup=s.warmup)
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(s.seed)
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(s.threads)
        stack.callback(setattr, learner, "params", learner.params)
        memory = stack.enter_context(peak_memory())
        state = TrainState.start(learner.params, s.average, device, optimiser)
        learner.params = state.weights
        state.kept = getattr(learner, "kept", None)
        stack.enter_context(kept_as_it_was(state.kept))
        batch = family.batch(0, s.tasks)
        require_first(learner, family, validation, batch, device)
        compiling, seconds = _updates(job, state, device)
        state.best = dict(state.scored) if validation is not None else {}
        stored = left_out(state.checkpoint(), base)
        tensors = [tensor for part in PARTS for tensor in getattr(stored, part).values()]
    own = learner.params
    trained = {row[0] for row in learner.scope_rows() if row[3] in TRAINED}
    adapting, shapes = learner.describe().get("adapts"), {name: tuple(getattr(batch, name).shape) for name in FIELDS}
    limits = [None if s.iterations is None else seconds * s.iterations, None if s.minutes is None else 60 * s.minutes]
    return DryRun(
        batch={name: shape for name, shape in shapes.items() if 0 not in shape},
        parameters=sum(p.numel() for p in own.values()),
        trained=sum(p.numel() for name, p in own.items() if name in trained),
        adapting=adapting if isinstance(adapting, int) else None,
        memory=memory.high,
        added=memory.added,
        compiling=compiling,
        seconds=seconds,
        counted=job.counted,
        speed=s.tasks * job.each / seconds,
        left=min(limit for limit in limits if limit is not None),
        checkpoint=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        device=device.type,
    )


def _updates(job: Job, state: TrainState, device: torch.device) -> tuple[float, float]:
    """Two updates: the seconds that the first spent on compiling, and the second took in all."""

    def refuse(loss: float, out: MetaGradient) -> Exception:
        return not_finite(job, state.progress.iteration + 1, loss, out, None)

    s, before = job.train, seconds_compiling()
    batches = [job.family.batch(index, s.tasks) for index in (0, 1)]
    images = batches[0].example_layout == "images"
    update = meta_update(job.learner, state, s.clip, ALONE, images, refuse)
    begun = time.perf_counter()
    for index, drawn in enumerate(batches):
        batch = drawn.with_keys(s.seed, index).to(device)
        set_progress(job.learner, 0.0)
        begun = time.perf_counter()
        update(Share(batch, 0, s.tasks), state.optimiser.rate(0.0), time.perf_counter, StopRequest(), None)
    return seconds_compiling() - before, max(time.perf_counter() - begun, 1e-9)
