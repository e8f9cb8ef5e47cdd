"""From settings to the tasks they describe."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from metaft import tasks
from metaft.data import catalog
from metaft.data.class_lists import require_disjoint
from metaft.data.images import LabelledImages, together
from metaft.data.splits import ALL, SPLITS
from metaft.errors import MetaftError
from metaft.plugins import call, is_import_path, load_attribute
from metaft.settings.family import FamilySettings
from metaft.tasks import episodes_of
from metaft.tasks.episodes import Episodes
from metaft.tasks.family import TaskFamily

CHANNELS = {"grey": 1, "rgb": 3, None: None}

SMALLEST = {"ways": 2, "shots": 1, "queries": 1, "fewest_ways": None, "fewest_shots": None}
"""Settings of tasks that any data set can give: for those who want its images alone."""


def build_family(settings: FamilySettings, split: str, seed: int, train_ways: int | None = None) -> TaskFamily:
    """The task family of one split.

    Args:
        settings: which tasks; a command's whole settings will do.
        split: "train", "val" or "test"; or "all", the classes of all three.
        seed: of the tasks.
        train_ways: classes in a task of split "train", where that differs.

    Returns:
        The family.

    Raises:
        MetaftError: for an unknown data set, settings that do not suit it, or data that is absent or does not suffice.
    """
    if is_import_path(settings.dataset):
        return _own_together(settings, seed) if split == ALL else _own(settings, split, seed, train_ways)
    info = catalog.dataset(settings.dataset)
    if settings.min_examples is not None and settings.dataset not in ("folder", "table"):
        raise MetaftError(
            f"min_examples = {settings.min_examples}: data set {settings.dataset} leaves out no class; "
            "folder and table do"
        )
    if settings.dataset == "sinusoid":
        if split == ALL:
            raise MetaftError("sinusoid has no classes to take all of: leave --split out")
        return tasks.sinusoid(shots=settings.shots, queries=settings.queries, seed=seed, split=split)
    if settings.dataset == "table":
        return _table(settings, split, seed)
    if not info.schemes and settings.scheme != FamilySettings.model_fields["scheme"].default:
        raise MetaftError(f"scheme = {settings.scheme!r}: data set {settings.dataset} has only one way to be split")
    return tasks.episodes(
        settings.dataset,
        _ways(settings, split, train_ways),
        _range(settings, "shots"),
        settings.queries,
        split,
        seed,
        settings.data_root,
        CHANNELS[settings.colours],
        **{name: value for name, value in _offered(settings).items() if name in info.options},
    )


def _own_together(settings: FamilySettings, seed: int) -> TaskFamily:
    """All classes of a data set of the user's own; its function knows train, val and test."""
    parts = [_own(settings.model_copy(update=SMALLEST), split, seed) for split in SPLITS]
    sets = [part.images for part in parts if isinstance(part, Episodes)]
    if len(sets) < len(parts):
        raise MetaftError(f"{settings.dataset} gives tasks, not images: there are no classes to take all of")
    require_disjoint({split: held.names for split, held in zip(SPLITS, sets, strict=True)}, settings.dataset)
    ways, shots, told = _ways(settings, ALL, None), _range(settings, "shots"), getattr(parts[0], "details", {})
    return episodes_of(together(sets), ways, shots, settings.queries, ALL, seed, settings.dataset, None, told)


def _own(settings: FamilySettings, split: str, seed: int, train_ways: int | None = None) -> TaskFamily:
    """A data set or family of the user's own: called with those of our settings that it has parameters for."""
    path = settings.dataset
    make = load_attribute(path)
    if not callable(make):
        raise MetaftError(f"{path} is not a function or class; expected one that takes split and gives images or tasks")
    most = train_ways if split == "train" and train_ways else settings.ways
    drawn = {"ways": most, "shots": settings.shots, "queries": settings.queries, "seed": seed}
    offered = {"split": split, "root": settings.data_root, **_offered(settings), **drawn}
    made = call(path, make, {name: value for name, value in offered.items() if name in _parameters(make)})
    if isinstance(made, LabelledImages):
        told = {name: value for name, value in _offered(settings).items() if name in _parameters(make)}
        ways, shots, channels = (
            _ways(settings, split, train_ways),
            _range(settings, "shots"),
            CHANNELS[settings.colours],
        )
        return episodes_of(made, ways, shots, settings.queries, split, seed, path, channels, told)
    if not isinstance(made, TaskFamily):
        raise MetaftError(
            f"{path} made a {type(made).__name__}; expected metaft.data.images.LabelledImages, or a task family "
            "with kind, outputs, input_shape, batch(index, tasks) and describe()"
        )
    return made


def _table(settings: FamilySettings, split: str, seed: int) -> TaskFamily:
    for name, what in (("data_root", "the CSV file"), ("group", "the column that tells tasks apart")):
        if getattr(settings, name) is None:
            raise MetaftError(f"data set 'table' needs --{name.replace('_', '-')}: {what}")
    if settings.target is None:
        raise MetaftError("data set 'table' needs --target: the column to predict")
    return tasks.table(
        str(settings.data_root),
        group=str(settings.group),
        target=settings.target,
        features=settings.features,
        shots=settings.shots,
        queries=settings.queries,
        seed=seed,
        split=split,
        split_column=settings.split_column,
        split_seed=settings.split_seed,
        min_examples=settings.min_examples,
        standardise=settings.standardise,
    )


def _offered(settings: FamilySettings) -> dict[str, Any]:
    """What a data set of images may be told."""
    return {
        "scheme": settings.scheme,
        "size": settings.image_size,
        "rotations": settings.rotations,
        "split_seed": settings.split_seed,
        "min_examples": settings.min_examples,
    }


def _ways(settings: FamilySettings, split: str, train_ways: int | None) -> int | tuple[int, int]:
    return train_ways if split == "train" and train_ways else _range(settings, "ways")


def _range(settings: FamilySettings, name: str) -> int | tuple[int, int]:
    fewest, most = getattr(settings, f"fewest_{name}"), getattr(settings, name)
    return most if fewest is None else (fewest, most)


def _parameters(make: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(make).parameters)
    except (TypeError, ValueError):  # a callable written in C tells no signature
        return {"split"}
