"""Meta-training: batch → meta-gradient → clip → outer optimiser → log → validate → checkpoint."""

from __future__ import annotations

import contextlib
import logging
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from metaft.device import device_of_name
from metaft.distributed.ranks import join
from metaft.distributed.share import Share
from metaft.distributed.world import World
from metaft.environment import program
from metaft.errors import MetaftError
from metaft.evaluation.report import markdown_table
from metaft.evaluation.validation import metric_name, per_step, validate
from metaft.inner.scope import SCOPE_HEADS
from metaft.learners.learner import MetaLearner as Learner
from metaft.learners.learner import set_progress
from metaft.outer.compiled import cache_folder, seconds_compiling
from metaft.outer.mean_gradient import MetaGradient
from metaft.runs import checkpoint
from metaft.runs.directory import RunDirectory
from metaft.runs.frozen_base import FrozenBase, filled, left_out
from metaft.runs.metrics import Metrics
from metaft.runs.own_adapters import adapter_files, with_own_adapters
from metaft.settings.config import CommandSettings, to_toml, validated
from metaft.settings.train import TrainSettings
from metaft.tables import OUTER
from metaft.tasks.check import require_fit
from metaft.tasks.family import TaskFamily
from metaft.tasks.prefetch import Ahead
from metaft.training.callbacks.callback import RunView
from metaft.training.callbacks.callbacks import Callbacks
from metaft.training.clock import Clock, few_updates
from metaft.training.first_batch import require_first
from metaft.training.job import Job
from metaft.training.progress import RunProgress
from metaft.training.ranks import start_alike
from metaft.training.record import draw_episode, not_finite, show_episode, write_run_record
from metaft.training.state import TrainState
from metaft.training.stopping import StoppedRun, StopRequest
from metaft.training.update import meta_update

log = logging.getLogger("metaft")


@dataclass(frozen=True)
class TrainResult:
    """What a finished run came to.

    Args:
        out: the run directory.
        iterations: meta-updates made.
        seconds: time they took, earlier parts of a resumed run included, compiling not.
        metric: "accuracy", "mse" or "perplexity".
        best: best validation metric (mean squared errors capped at 50 a task), None without validation.
        best_iteration: when it was reached.
    """

    out: Path
    iterations: int
    seconds: float
    metric: str
    best: float | None
    best_iteration: int | None


def meta_train(
    learner: Learner,
    family: TaskFamily,
    iterations: int | None = 1000,
    tasks: int = 32,
    seed: int = 0,
    out: str | Path = "runs/x",
    *,
    validation: TaskFamily | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    config: CommandSettings | None = None,
    command: str | None = None,
    base: FrozenBase | None = None,
    callbacks: str | Sequence[object] = (),
    **settings: Any,
) -> TrainResult:
    """Train a learner's meta-parameters with an outer optimiser on the meta-gradient, into a run directory.

    Afterwards the learner holds the weights with the best validation score; without ``validation``, the last
    ones (their moving average where ``average`` > 0). Under torchrun every rank must call this: they share the tasks
    of each batch, and rank 0 alone writes.

    Args:
        learner: what to train; ``learner.params`` are its start.
        family: the training tasks; iteration i uses ``family.batch(i, tasks)``.
        iterations: meta-updates; None for a run limited by ``minutes`` alone.
        tasks: tasks a meta-update.
        seed: of torch's global random numbers during the run, for learners that draw some.
        out: the run directory to make.
        validation: tasks over other classes, to choose the weights by.
        resume: go on with the run in ``out``, to the same end as if it had never stopped.
        overwrite: replace the run in ``out``.
        progress: show it on standard error.
        config: the full settings this run was built from, kept so that it can be rebuilt; they replace
            iterations, tasks, seed and ``settings``.
        command: what to record as the command.
        base: frozen weights that are built again from ``config``, which checkpoints leave out; None for none.
        callbacks: objects that are told of the run as it goes (``metaft.training.callbacks``), or names, such as
            "csv+wandb:project=birds"; those of ``config`` come before them.
        settings: further fields of ``TrainSettings``: minutes, outer, outer_lr, schedule, warmup, clip, average,
            device, threads, log_every, validate_every, validate_tasks, patience, checkpoint_every.

    Returns:
        What the run came to.

    Raises:
        MetaftError: for a bad setting, a run directory that is taken, a loss or gradient that is not finite,
            a callback that fails, a full disk, or another rank that is gone; the last good checkpoint stays.
        StoppedRun: after SIGINT or SIGTERM, once the iteration is finished and a checkpoint written.
    """
    given = {"iterations": iterations, "tasks": tasks, "seed": seed, **settings}
    if config is not None:
        given = {name: getattr(config, name) for name in TrainSettings.model_fields}
    s = validated(TrainSettings, given)
    adapters = adapter_files(with_own_adapters(config, out) if config is not None and resume else config)
    if s.patience is not None and validation is None:
        raise MetaftError(f"patience = {s.patience} counts validations and there is none; give validation tasks")
    job = Job(learner, family, validation, s, config, base, adapters)
    given_callbacks = [*filter(None, [s.callbacks]), *([callbacks] if isinstance(callbacks, str) else callbacks)]
    with ExitStack() as stack:
        world = stack.enter_context(join())
        calls = Callbacks(given_callbacks, world)
        device = world.device(device_of_name(s.device))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(s.seed)
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(s.threads)
        optimiser = OUTER.make(s.outer, lr=s.outer_lr, schedule=s.schedule, warmup=s.warmup)
        state = TrainState.start(learner.params, s.average, device, optimiser)
        state.kept = getattr(learner, "kept", None)
        run = RunDirectory.open(out, resume=resume, overwrite=overwrite) if world.first else RunDirectory(out)
        stack.callback(run.close)
        metrics = _log(stack, job, run, state, resume, command) if world.first else None
        start_alike(world, state, job)
        learner.params, at = state.weights, state.progress
        show = progress and world.first
        display = RunProgress(at.iteration, job.done(at), s.tasks * job.each, job.metric, show, counted=job.counted)
        stack.callback(display.close)
        if getattr(learner, "engine", "eager") == "compile":
            display.preparing("compiling (half a minute or so; --engine eager starts at once)")
        compiling = seconds_compiling()
        stop = stack.enter_context(StopRequest())
        stack.callback(calls.close)
        record: Callable[..., None] = run.write_record if world.first else lambda **values: None
        try:
            calls.start(RunView(run.path, at.iteration, _settings(job), job.metric, learner))
            _train(job, state, run, metrics, display, stop, device, world, calls)
        except Exception as error:
            with contextlib.suppress(MetaftError):  # The disk may be full; the first error says so.
                record(state="failed", reason=str(error), iteration=at.iteration)
            raise
        finally:
            learner.params = state.best or state.scored
        signum = world.stopping(stop.signum)
        early = job.ended_early(at) or calls.stopped
        if signum and job.done(at) < 1 and not early:
            record(state="stopped", iteration=at.iteration, seconds=at.seconds)
            hint = f"{program()} {config.command} --resume --out {shlex.quote(str(out))}" if config else "resume=True"
            raise StoppedRun(f"stopped after iteration {at.iteration}, saved; go on with: {hint}", signum)
        if metrics:
            draw_episode(run, learner, validation or family, device)
            if validation is None:
                show_episode(metrics, learner, family, device, at.iteration)
            metrics.scores(at.iteration, {"iterations": at.iteration, "minutes": at.seconds / 60})
            metrics.finish()
        few = few_updates(at.iteration, s.iterations, s.minutes, job.counted)
        if few and world.first:
            log.warning("%s: %s", run.path, few)
        best = job.best(at)
        record(
            state="finished",
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            iteration=at.iteration,
            seconds=at.seconds,
            warning=few or None,
            ended_early=early or None,
            compile_seconds=round(seconds_compiling() - compiling, 1),
            **{f"best_validation_{job.metric}": best, "best_iteration": at.best_iteration},
        )
        result = TrainResult(run.path, at.iteration, at.seconds, job.metric, best, at.best_iteration)
        calls.end(result)
        return result


def _log(
    stack: ExitStack, job: Job, run: RunDirectory, state: TrainState, resume: bool, command: str | None
) -> Metrics:
    """Begin the record and the log of an open run directory; a resumed run's state is restored."""
    found = resume and checkpoint.newest_name(run.checkpoints) is not None
    stored = filled(checkpoint.load_newest(run.checkpoints), state.weights) if found else None
    write_run_record(run, job, resume, command, (lambda: None) if stored is None else lambda: state.restore(stored))
    if stored is not None and stored.path is not None:
        checkpoint.give_up_after(run.checkpoints, stored.path)
    at, config = state.progress, job.config
    metrics = Metrics(run.metrics, run.tensorboard, at.metrics_offset, at.iteration)
    stack.callback(metrics.close)
    metrics.settings(_settings(job))
    if at.iteration == 0:
        adapts = not hasattr(job.learner, "watched")
        metrics.layout(metric_name(job.family.kind) if adapts else None, job.metric)
        metrics.text("config", to_toml(config) if config else str(job.train.model_dump()))
        metrics.text("parameters", markdown_table(SCOPE_HEADS, job.learner.scope_rows()))
    return metrics


def _settings(job: Job) -> dict[str, Any]:
    """What the run was made with, flat."""
    return job.config.model_dump() if job.config else {**job.learner.describe(), **job.train.model_dump()}


def _train(
    job: Job,
    state: TrainState,
    run: RunDirectory,
    metrics: Metrics | None,
    display: RunProgress,
    stop: StopRequest,
    device: torch.device,
    world: World,
    calls: Callbacks,
) -> None:
    at, name, s, learner, validation = state.progress, job.metric, job.train, job.learner, job.validation
    clock = Clock(at.seconds)

    def refuse(loss: float, out: MetaGradient) -> Exception:
        return not_finite(job, at.iteration + 1, loss, out, checkpoint.newest_name(run.checkpoints))

    def look(share: Share) -> list[float]:
        curve, batch = learner.curve(share.batch), share.batch
        return world.mean(per_step(curve, batch.query_y, batch.support_y), share)

    batches = Ahead(job.family, s.tasks)
    images = batches.peek(at.iteration).example_layout == "images"
    watched: Callable[[], dict[str, float]] | None = getattr(learner, "watched", None)
    update = meta_update(learner, state, s.clip, world, images, refuse)
    logged = (time.perf_counter(), at.iteration)
    saved, done, compiling = at.iteration, job.done(at), seconds_compiling()
    if done < 1:
        require_first(learner, job.family, validation, batches.peek(at.iteration), device)
    while done < 1 and not (job.ended_early(at) or calls.stopped or world.stopping(stop.signum)):
        drawn = batches.batch(at.iteration)
        require_fit(drawn, job.family)
        share = world.share(drawn.with_keys(s.seed, at.iteration))
        if device.type != "cpu":
            share = share.to(device)
        world.seed(s.seed, at.iteration)
        set_progress(learner, done)
        clock.tick()
        logs = (at.iteration + 1) % s.log_every == 0
        lr = state.optimiser.rate(done)
        loss, size, at.seconds, adapting = update(share, lr, clock, stop, look if logs and watched is None else None)
        at.window_loss += loss
        at.window += 1
        now = time.perf_counter()
        done = job.done(at)
        display.update(at.iteration, loss, done, now)
        if seconds_compiling() > compiling:
            display.say(f"compiled in {seconds_compiling() - compiling:.0f} s, kept in {cache_folder()}")
            compiling = seconds_compiling()
        if logs:
            row: dict[str, Any] = {"loss": at.window_loss / at.window}
            if watched is None:
                seen = metric_name(job.family.kind)
                row |= {f"{seen}_before": adapting[0], f"{seen}_after": adapting[-1], f"{seen}_per_step": adapting}
            else:  # a learner that does not adapt tells of its batch what it has seen of it
                told = watched()
                row |= dict(zip(told, world.mean(list(told.values()), share), strict=True))
            row |= {"gradient_norm": size, "learning_rate": lr}
            if s.diagnose:
                row["adjoint_norm_per_step"] = world.mean(learner.adjoint_norms(share.batch), share)
            speed = s.tasks * job.each * (at.iteration - logged[1]) / (now - logged[0])
            row["tasks_per_second" if job.each == 1 else f"{job.counted}_per_second"] = speed
            row["seconds"] = at.seconds
            if metrics:
                metrics.write("train", at.iteration, row)
            calls.update(at.iteration, row)
            at.window_loss, at.window, logged = 0.0, 0, (now, at.iteration)
        clock.tick()
        if validation is not None and (at.iteration % s.validate_every == 0 or done >= 1):
            learner.params = state.scored
            set_progress(learner, done)
            v = validate(learner, validation, s.validate_tasks, device, world)
            row = {"loss": v.loss, name: v.metric, "ci95": v.ci95, "best": state.keep_best(v.score), **v.more}
            if metrics:
                show_episode(metrics, learner, validation, device, at.iteration)
                metrics.scores(at.iteration, {f"best_validation_{name}": job.best(at) or 0.0})
                metrics.write("validation", at.iteration, row)
            learner.params = state.weights
            display.validated(v.metric, v.ci95)
            calls.validation(at.iteration, row)
        if at.iteration % s.checkpoint_every == 0:
            saved = _save(run, state, metrics, job.base, calls)
    if early := job.ended_early(at) or calls.stopped:
        display.say(early)
    if saved != at.iteration:
        _save(run, state, metrics, job.base, calls)


def _save(
    run: RunDirectory, state: TrainState, metrics: Metrics | None, base: FrozenBase | None, calls: Callbacks
) -> int:
    folder, iteration = run.checkpoints, state.progress.iteration
    if metrics:
        state.progress.metrics_offset = metrics.sync()
        folder = checkpoint.save(folder, left_out(state.checkpoint(), base))
    calls.checkpoint(iteration, folder)
    return iteration
