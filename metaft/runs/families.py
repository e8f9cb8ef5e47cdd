"""From settings to the tasks they describe."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from metaft.data.class_lists import require_disjoint
from metaft.data.images import LabelledImages, together
from metaft.data.splits import ALL, SPLITS
from metaft.errors import MetaftError
from metaft.plugins import call, is_import_path, load_attribute
from metaft.runs.config import RunConfig
from metaft.tasks.family import TaskFamily

CHANNELS = {"grey": 1, "rgb": 3, None: None}


def build_family(config: RunConfig, split: str) -> TaskFamily:
    """The task family of one split.

    Args:
        config: the settings.
        split: "train", "val" or "test"; or "all", the classes of all three.

    Returns:
        The family.

    Raises:
        MetaftError: for an unknown data set, settings that do not suit it, or data that is absent or does not suffice.
    """
    from metaft import tasks
    from metaft.data import catalog

    if is_import_path(config.dataset):
        return _own_together(config) if split == ALL else _own(config, split)
    info = catalog.dataset(config.dataset)
    if config.min_examples is not None and config.dataset not in ("folder", "table"):
        raise MetaftError(
            f"min_examples = {config.min_examples}: data set {config.dataset} leaves out no class; folder and table do"
        )
    if config.dataset == "sinusoid":
        if split == ALL:
            raise MetaftError("sinusoid has no classes to take all of: leave --split out")
        return tasks.sinusoid(shots=config.shots, queries=config.queries, seed=config.seed, split=split)
    if config.dataset == "table":
        return _table(config, split)
    if not info.schemes and config.scheme != RunConfig.model_fields["scheme"].default:
        raise MetaftError(f"scheme = {config.scheme!r}: data set {config.dataset} has only one way to be split")
    return tasks.episodes(
        config.dataset,
        _ways(config, split),
        _range(config, "shots"),
        config.queries,
        split,
        config.seed,
        config.data_root,
        CHANNELS[config.colours],
        **{name: value for name, value in _offered(config).items() if name in info.options},
    )


def _own_together(config: RunConfig) -> TaskFamily:
    """All classes of a data set of the user's own; its function knows train, val and test."""
    from metaft.tasks import episodes_of
    from metaft.tasks.episodes import Episodes

    smallest = {"ways": 2, "shots": 1, "queries": 1, "fewest_ways": None, "fewest_shots": None, "train_ways": None}
    parts = [_own(config.model_copy(update=smallest), split) for split in SPLITS]
    sets = [part.images for part in parts if isinstance(part, Episodes)]
    if len(sets) < len(parts):
        raise MetaftError(f"{config.dataset} gives tasks, not images: there are no classes to take all of")
    require_disjoint({split: held.names for split, held in zip(SPLITS, sets, strict=True)}, config.dataset)
    ways, shots, told = _ways(config, ALL), _range(config, "shots"), getattr(parts[0], "details", {})
    return episodes_of(together(sets), ways, shots, config.queries, ALL, config.seed, config.dataset, None, told)


def _own(config: RunConfig, split: str) -> TaskFamily:
    """A data set or family of the user's own: called with those of our settings that it has parameters for."""
    from metaft.tasks import episodes_of

    path = config.dataset
    make = load_attribute(path)
    if not callable(make):
        raise MetaftError(f"{path} is not a function or class; expected one that takes split and gives images or tasks")
    most = config.train_ways if split == "train" and config.train_ways else config.ways
    settings = {"ways": most, "shots": config.shots, "queries": config.queries, "seed": config.seed}
    offered = {"split": split, "root": config.data_root, **_offered(config), **settings}
    made = call(path, make, {name: value for name, value in offered.items() if name in _parameters(make)})
    if isinstance(made, LabelledImages):
        told = {name: value for name, value in _offered(config).items() if name in _parameters(make)}
        ways, shots, channels = _ways(config, split), _range(config, "shots"), CHANNELS[config.colours]
        return episodes_of(made, ways, shots, config.queries, split, config.seed, path, channels, told)
    if not isinstance(made, TaskFamily):
        raise MetaftError(
            f"{path} made a {type(made).__name__}; expected metaft.data.images.LabelledImages, or a task family "
            "with kind, outputs, input_shape, batch(index, tasks) and describe()"
        )
    return made


def _table(config: RunConfig, split: str) -> TaskFamily:
    from metaft.tasks import table

    for name, what in (("data_root", "the CSV file"), ("group", "the column that tells tasks apart")):
        if getattr(config, name) is None:
            raise MetaftError(f"data set 'table' needs --{name.replace('_', '-')}: {what}")
    if config.target is None:
        raise MetaftError("data set 'table' needs --target: the column to predict")
    return table(
        str(config.data_root),
        group=str(config.group),
        target=config.target,
        features=config.features,
        shots=config.shots,
        queries=config.queries,
        seed=config.seed,
        split=split,
        split_column=config.split_column,
        split_seed=config.split_seed,
        min_examples=config.min_examples,
        standardise=config.standardise,
    )


def _offered(config: RunConfig) -> dict[str, Any]:
    """What a data set of images may be told."""
    return {
        "scheme": config.scheme,
        "size": config.image_size,
        "rotations": config.rotations,
        "split_seed": config.split_seed,
        "min_examples": config.min_examples,
    }


def _ways(config: RunConfig, split: str) -> int | tuple[int, int]:
    return config.train_ways if split == "train" and config.train_ways else _range(config, "ways")


def _range(config: RunConfig, name: str) -> int | tuple[int, int]:
    fewest, most = getattr(config, f"fewest_{name}"), getattr(config, name)
    return most if fewest is None else (fewest, most)


def _parameters(make: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(make).parameters)
    except (TypeError, ValueError):  # a callable written in C tells no signature
        return {"split"}
