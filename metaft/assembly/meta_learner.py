"""From settings to task families, network and learner; from a run directory back to its learner."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from torch import nn

from metaft import learners, models
from metaft.additions.attach import read as asked_for
from metaft.assembly.frozen_base import frozen_base
from metaft.assembly.networks import build_model
from metaft.assembly.tasks import build_family
from metaft.data.class_lists import require_disjoint
from metaft.distributed.place import place
from metaft.errors import MetaftError
from metaft.learners import ANY_WAYS
from metaft.learners.learner import MetaLearner as Learner
from metaft.plugins import call, is_import_path, load_attribute, named_part
from metaft.processors import cores
from metaft.runs import checkpoint
from metaft.runs.directory import RunDirectory
from metaft.runs.frozen_base import FrozenBase, filled
from metaft.runs.older_names import as_named_now
from metaft.runs.own_adapters import with_own_adapters
from metaft.runs.recorded import recorded_config
from metaft.settings.config import RunConfig, validated
from metaft.settings.defaults import REGRESSIONS
from metaft.settings.learner import LearnerSettings
from metaft.tables import ADDITIONS, ESTIMATORS, LEARNERS, META_TRAINED, METRIC, OBJECTIVES, RULES
from metaft.tasks.episodes import Episodes
from metaft.tasks.family import TaskFamily
from metaft.zoo import run_path

COMPUTING = ("memory", "engine", "workers")
"""How an inner loop is computed, not what: nothing to a learner without one."""

OFFERED = (*COMPUTING, "kind", "seed")
"""What a learner is told if it has a use for it."""

TRAINABLE = ("name", "params", "transductive", "meta_gradient", "curve", "describe", "scope_rows")
"""What meta-training asks of a learner."""


F = TypeVar("F", bound=TaskFamily)
L = TypeVar("L", bound=Learner)


@dataclass(frozen=True)
class Parts(Generic[F, L]):
    """What a run is made of; ``base`` is what its checkpoints leave out."""

    train: F
    validation: TaskFamily
    learner: L
    base: FrozenBase | None = None


def build(config: RunConfig) -> Parts[TaskFamily, Learner]:
    """Everything a training run needs.

    Args:
        config: the settings.

    Returns:
        Training and validation tasks, and the learner with its initial weights.

    Raises:
        MetaftError: for an unknown data set, model or learner, a learner that is not meta-trained, or data
            that is absent or does not suffice.
    """
    _require_meta_trained(config.method)
    _require_known(config)
    _require_any_ways(config)
    train = build_family(config, "train", config.seed, config.train_ways)
    validation = build_family(config, "val", config.seed)
    if isinstance(train, Episodes) and isinstance(validation, Episodes) and not train.images.shared:
        require_disjoint({"train": train.images.names, "val": validation.images.names}, config.dataset)
    model = build_model(config, train, config.seed)
    learner = _learner_of(model, config, train)
    _require_adjoint(config, learner)
    return Parts(train, validation, learner, frozen_base(config.model, model, learner.params))


def _require_meta_trained(name: str) -> None:
    """Refuse a learner that has nothing to meta-train, before data is read."""
    if name in LEARNERS and name not in META_TRAINED:
        raise MetaftError(
            f"learner {name!r} cannot be meta-trained (only {', '.join(META_TRAINED)} can): train a network with "
            f"metaft pretrain --out RUN, then score the learner with metaft compare {name}:backbone=RUN"
        )


def _require_known(config: RunConfig) -> None:
    """Refuse an unknown learner or network, or a setting that the learner has no use for, before data is read."""
    models.require_known(config.model)
    for addition in asked_for(config.addition) if config.addition else ():
        ADDITIONS.asked(addition)
    if not is_import_path(config.method):
        builder = LEARNERS[config.method]
        given = _without_unused_defaults(_given_options(config), learners.options(builder))
        learners.convert(f"learner {config.method!r}", builder, given)
    for table, part in ((RULES, config.rule), (OBJECTIVES, config.objective), (ESTIMATORS, config.estimator)):
        if part is not None:
            table.asked(part)


def require_no_idle_steps(config: RunConfig, asked: object) -> None:
    """Refuse a number of inner steps that is asked for where there is no inner loop.

    Args:
        config: of a run.
        asked: the number; None for none.

    Raises:
        MetaftError: naming the learner.
    """
    if config.method in METRIC and asked is not None:
        raise MetaftError(f"steps = {asked}: learner {config.method!r} has no inner steps; leave it out")


def _require_adjoint(config: RunConfig, learner: Learner) -> None:
    estimator = learner.describe().get("estimator")
    own = is_import_path(config.method)
    pathless = estimator in ESTIMATORS and ESTIMATORS.make(str(estimator)).without_path
    if config.diagnose and (pathless or (estimator is None and not own)):
        how = "it has no inner steps" if estimator is None else f"estimator {estimator!r} has none"
        raise MetaftError(f"diagnose logs the adjoint at each inner step of learner {learner.name!r}, and {how}")


def _require_any_ways(config: RunConfig) -> None:
    """Refuse other ways in training than in test where a head is bound to them."""
    if config.dataset in REGRESSIONS and config.train_ways is not None:
        raise MetaftError(f"train_ways = {config.train_ways}: a regression has no ways; leave train_ways out")
    bound = config.method not in ANY_WAYS and not is_import_path(config.method)
    if bound and config.train_ways not in (None, config.ways):
        raise MetaftError(
            f"train_ways = {config.train_ways}: learner {config.method!r} has a head for {config.ways} ways and "
            f"cannot train on others; leave train_ways out, or take a learner without ({', '.join(sorted(ANY_WAYS))})"
        )


def build_learner(config: RunConfig, family: TaskFamily) -> Learner:
    """The learner, with initial weights.

    Args:
        config: the settings.
        family: tells the input's shape and the number of outputs.

    Returns:
        The learner.

    Raises:
        MetaftError: as ``build``.
    """
    return _learner_of(build_model(config, family, config.seed), config, family)


def _learner_of(model: nn.Module, config: RunConfig, family: TaskFamily) -> Learner:
    how = _given_options(config)
    how |= {"kind": family.kind, "workers": worker_count(config), "seed": config.seed}
    if is_import_path(config.method):
        known = {*learners.options(own_builder(config.method)), *named_part(config.learner, "learner").options}
        how = {name: value for name, value in how.items() if name in known}
        return cast(Learner, own_learner(config.method, model, how, TRAINABLE, "cannot be meta-trained"))
    if config.method in LEARNERS:
        how = _without_unused_defaults(how, learners.options(LEARNERS[config.method]))
    return cast(Learner, learners.build(config.method, model, **how))


def _given_options(config: RunConfig) -> dict[str, Any]:
    """What the settings say of the learner; its own options are text."""
    values = {n: getattr(config, n) for n in LearnerSettings.model_fields if n not in ("learner", "workers")}
    told = {name: value for name, value in values.items() if value is not None}
    return told | dict(named_part(config.learner, "learner").options)


def _without_unused_defaults(how: dict[str, Any], known: Container[str]) -> dict[str, Any]:
    """Settings without those that the learner has no use for and that nobody asked for."""
    default = {name: field.default for name, field in LearnerSettings.model_fields.items()}
    idle = lambda name: name in OFFERED or (name in default and how[name] == default[name])
    return {name: value for name, value in how.items() if name in known or not idle(name)}


def own_builder(path: str) -> learners.Builder:
    """A learner of the user's own, before it is made.

    Args:
        path: its import path.

    Returns:
        Its class, or a function that makes one.

    Raises:
        MetaftError: if it is neither, or as ``load_attribute``.
    """
    builder = load_attribute(path)
    if not callable(builder):
        raise MetaftError(
            f"{path} is a {type(builder).__name__}; a learner's class, or a function that makes one, is needed"
        )
    return builder


def own_learner(path: str, model: nn.Module | None, given: dict[str, Any], members: Iterable[str], what: str) -> Any:
    """Make a learner of the user's own.

    Args:
        path: its import path.
        model: the network, if it has one.
        given: option → value.
        members: what it must have.
        what: to say of one that has not.

    Returns:
        The learner.

    Raises:
        MetaftError: if it cannot be made, or lacks a member.
    """
    arguments = {"whose": f"learner {path!r}", "builder": own_builder(path), "model": model, "given": given}
    learner = call(path, learners.construct, arguments)
    if absent := [name for name in members if not hasattr(learner, name)]:
        raise MetaftError(f"{path} {what}: it has no {', '.join(absent)}")
    return learner


def worker_count(config: RunConfig) -> int:
    """Threads that share the tasks: as told, else all cores where there is a chunk of images for each."""
    if config.workers != "auto":
        return config.workers
    images = config.dataset not in REGRESSIONS and config.device != "cuda"
    return max(1, cores() // place().local_size) if images else 1


def load_run(
    path: str | Path, weights: str = "best", family: TaskFamily | None = None, **overrides: Any
) -> tuple[RunConfig, Learner]:
    """Rebuild a run's learner with trained weights.

    Args:
        path: the run directory, or ``zoo:NAME``.
        weights: "best" by validation (the last ones of a run that was never validated), or "last".
        family: any family with the run's input shape and outputs; by default the run's validation tasks.
        overrides: settings that differ from the run's, such as ``batch_norm``.

    Returns:
        The run's settings and its learner.

    Raises:
        MetaftError: if there is no such run, it was not made from settings, has no checkpoint yet, or its
            checkpoint is of another architecture or a newer metaft.
    """
    path = run_path(path)
    config = run_config(path)
    _require_statistics(path, config, overrides.get("batch_norm"))
    if overrides:
        config = validated(RunConfig, {**config.model_dump(), **overrides})
    stored = checkpoint.load_newest(RunDirectory(path).checkpoints)
    tasks = family or build_family(config, "val", config.seed)
    learner = build_learner(with_own_adapters(config, path), tasks)
    stored = as_named_now(filled(stored, learner.params), learner.params)
    chosen = stored.chosen(weights)
    checkpoint.require_fit(chosen, learner.params, stored.path)
    learner.params = chosen
    return config, learner


def _require_statistics(path: str | Path, config: RunConfig, batch_norm: str | None) -> None:
    """Refuse to normalise by running statistics that training did not gather."""
    gathered = config.batch_norm in (None, "running") and config.method in METRIC
    if batch_norm == "running" and not gathered and not is_import_path(config.method):
        raise MetaftError(
            f"{path} gathered no running statistics in training; evaluate it with batch_norm transductive or inductive"
        )


def run_config(path: str | Path) -> RunConfig:
    """The settings a run was made from.

    Args:
        path: the run directory.

    Returns:
        The settings.

    Raises:
        MetaftError: if there is no such run, or it was not made from settings.
    """
    config = recorded_config(path)
    if not isinstance(config, RunConfig):
        raise MetaftError(
            f"{path} was made by metaft {config.command}: a network, no learner of few-shot tasks; name a learner that "
            f"starts from it, such as: metaft compare fine-tuning:backbone={path}"
        )
    return config
