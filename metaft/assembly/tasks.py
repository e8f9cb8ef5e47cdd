"""From settings to the tasks they describe."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Sequence
from typing import Any, TypeVar

from metaft import tasks
from metaft.data import catalog
from metaft.data.class_lists import require_disjoint
from metaft.data.images import LabelledImages, together
from metaft.data.notes import say
from metaft.data.splits import ALL, SPLITS
from metaft.errors import MetaftError
from metaft.models.places import places_of
from metaft.parts import convert, read_options
from metaft.plugins import call, is_import_path, load_attribute
from metaft.settings.defaults import TEXTS
from metaft.settings.family import FamilySettings
from metaft.tasks import episodes_of
from metaft.tasks.episodes import Episodes
from metaft.tasks.family import TaskFamily

S = TypeVar("S", bound=FamilySettings)
CHANNELS = {"grey": 1, "rgb": 3, None: None}

NETWORKS = ("model", "teacher_model")
"""Settings that name a network which reads the data."""

SMALLEST = {"ways": 2, "shots": 1, "queries": 1, "fewest_ways": None, "fewest_shots": None}
"""Settings of tasks that any data set can give: for those who want its images alone."""


def build_family(
    settings: FamilySettings,
    split: str,
    seed: int,
    train_ways: int | None = None,
    networks: Sequence[str] | None = None,
) -> TaskFamily:
    """The task family of one split.

    Args:
        settings: which tasks; a command's whole settings will do.
        split: "train", "val" or "test"; or "all", the classes of all three.
        seed: of the tasks.
        train_ways: classes in a task of split "train", where that differs.
        networks: what reads the texts, as `metaft.models.build` takes it; those of the settings if None. A text longer
            than one of them has places for is cut, unless the settings ask for more words.

    Returns:
        The family.

    Raises:
        MetaftError: for an unknown data set, settings that do not suit it, or data that is absent or does not suffice.
    """
    if settings.dataset_options is not None and settings.dataset not in TEXTS:
        raise MetaftError(
            f"dataset_options = {settings.dataset_options}: data set {settings.dataset} has none of its own; those of "
            f"texts have ({', '.join(TEXTS)})"
        )
    if is_import_path(settings.dataset):
        return _own_together(settings, seed) if split == ALL else _own(settings, split, seed, train_ways)
    info = catalog.dataset(settings.dataset)
    if settings.min_examples is not None and "min_examples" not in info.options and settings.dataset != "table":
        raise MetaftError(
            f"min_examples = {settings.min_examples}: data set {settings.dataset} leaves out no class; "
            "folder, table, texts and trec do"
        )
    if settings.folds is not None and "folds" not in info.options:
        raise MetaftError(
            f"folds = {settings.folds}: data set {settings.dataset} is divided in its own way; folds are of folder"
        )
    own = _own_options(settings, info)
    if settings.dataset == "sinusoid":
        if split == ALL:
            raise MetaftError("sinusoid has no classes to take all of: leave --split out")
        return tasks.sinusoid(shots=settings.shots, queries=settings.queries, seed=seed, split=split)
    if settings.dataset == "table":
        return _table(settings, split, seed)
    if not info.schemes and settings.scheme != FamilySettings.model_fields["scheme"].default:
        raise MetaftError(f"scheme = {settings.scheme!r}: data set {settings.dataset} has only one way to be split")

    def drawn(max_words: int | None) -> Episodes:
        return tasks.episodes(
            settings.dataset,
            *_shape(settings, split, train_ways),
            split,
            seed,
            settings.data_root,
            CHANNELS[settings.colours],
            settings.within,
            settings.tokenizer,
            max_words,
            **image_options(settings, info.options) | own,
        )

    if info.texts is None or settings.max_words not in (None, info.max_words):
        return drawn(settings.max_words)
    if networks is None:
        named = (getattr(settings, field, None) for field in NETWORKS)
        networks = [name for name in named if name is not None]
    limits = [info.max_words, *map(places_of, networks)]
    most = min((limit for limit in limits if limit is not None), default=None)
    if info.max_words is None and most is not None:
        whole = drawn(None)
        if whole.input_shape[-1] <= most:
            return whole
    return drawn(most)


def fitting_tasks(settings: S, given: Container[str], split: str, most_shots: int) -> S:
    """Settings whose tasks a small folder suffices for, where nobody says how many ways and queries; said aloud.

    Args:
        settings: which tasks.
        given: the settings that somebody said.
        split: whose classes.
        most_shots: support examples a class, at most.

    Returns:
        The settings, ways and queries no more than there are; as they are for other data sets.

    Raises:
        MetaftError: if a class has not enough examples for one query.
    """
    if settings.dataset != "folder":
        return settings
    family = build_family(settings.model_copy(update=SMALLEST), split, seed=0)
    assert isinstance(family, Episodes)
    images = family.images
    fewest, small = int(images.counts.min()), images.names[int(images.counts.argmin())]
    changed: dict[str, Any] = {}
    if "ways" not in given and 2 <= images.classes < settings.ways:
        changed["ways"] = images.classes
        say(f"ways = {images.classes}, not {settings.ways}: folder ({split}) has no more classes")
    if "queries" not in given and 1 <= fewest - most_shots < settings.queries:
        changed["queries"] = fewest - most_shots
        more = "" if settings.min_examples else ", and --min-examples leaves out classes of few"
        say(
            f"queries = {fewest - most_shots} a class, not {settings.queries}: class {small!r} has only {fewest} "
            f"images; --queries asks for another number{more}"
        )
    return settings.model_copy(update=changed)


def _own_options(settings: FamilySettings, info: catalog.DatasetInfo) -> dict[str, Any]:
    """The options that a data set of texts alone has, converted."""
    if settings.dataset_options is None:
        return {}
    assert info.texts is not None
    whose = f"data set {settings.dataset!r}"
    return dict(convert(whose, info.texts, read_options(whose, settings.dataset_options), frozenset({"split", "root"})))


def image_options(settings: FamilySettings, known: Container[str]) -> dict[str, Any]:
    """What the settings say of a data set of images or texts.

    Args:
        settings: which tasks.
        known: the options that the data set has.

    Returns:
        Option → value.
    """
    same = ("scheme", "rotations", "split_seed", "min_examples", "split_column", "folds", "fold")
    names = {name: name for name in same} | {"size": "image_size"}
    return {option: getattr(settings, name) for option, name in names.items() if option in known}


def _own_together(settings: FamilySettings, seed: int) -> TaskFamily:
    """All classes of a data set of the user's own; its function knows train, val and test."""
    parts = [_own(settings.model_copy(update=SMALLEST), split, seed) for split in SPLITS]
    found = [part.images for part in parts if isinstance(part, Episodes)]
    sets = [held for held in found if isinstance(held, LabelledImages)]
    if len(sets) < len(parts):
        raise MetaftError(f"{settings.dataset} gives tasks, not images: there are no classes to take all of")
    require_disjoint({split: held.names for split, held in zip(SPLITS, sets, strict=True)}, settings.dataset)
    told = getattr(parts[0], "details", {})
    return episodes_of(together(sets), *_shape(settings, ALL), ALL, seed, settings.dataset, None, told)


def _own(settings: FamilySettings, split: str, seed: int, train_ways: int | None = None) -> TaskFamily:
    """A data set or family of the user's own: called with those of our settings that it has parameters for."""
    path = settings.dataset
    make = load_attribute(path)
    if not callable(make):
        raise MetaftError(f"{path} is not a function or class; expected one that takes split and gives images or tasks")
    known = _parameters(make)
    told = image_options(settings, known)
    most = train_ways if split == "train" and train_ways else settings.ways
    drawn = {"split": split, "root": settings.data_root, "ways": most, "seed": seed}
    drawn |= {"shots": settings.shots, "queries": settings.queries}
    made = call(path, make, told | {name: value for name, value in drawn.items() if name in known})
    if isinstance(made, LabelledImages):
        shape, channels = _shape(settings, split, train_ways), CHANNELS[settings.colours]
        return episodes_of(made, *shape, split, seed, path, channels, told)
    if not isinstance(made, TaskFamily):
        raise MetaftError(
            f"{path} made a {type(made).__name__}; expected metaft.data.images.LabelledImages, or a task family "
            "with kind, outputs, input_shape, batch(index, tasks) and describe()"
        )
    return made


def _table(settings: FamilySettings, split: str, seed: int) -> TaskFamily:
    needed = {
        "data_root": "the CSV file",
        "group": "the column that tells tasks apart",
        "target": "the column to predict",
    }
    for name, what in needed.items():
        if getattr(settings, name) is None:
            raise MetaftError(f"data set 'table' needs --{name.replace('_', '-')}: {what}")
    told = {name: getattr(settings, name) for name in FamilySettings.model_fields if name in _parameters(tasks.table)}
    return tasks.table(str(settings.data_root), **told | {"seed": seed, "split": split})


def _shape(settings: FamilySettings, split: str, train_ways: int | None = None) -> tuple[Any, Any, int]:
    """Ways, shots and queries of a task; those that are drawn task by task as the fewest and the most."""
    ranges = {name: (getattr(settings, f"fewest_{name}"), getattr(settings, name)) for name in ("ways", "shots")}
    ways, shots = (most if fewest is None else (fewest, most) for fewest, most in ranges.values())
    return (train_ways if split == "train" and train_ways else ways), shots, settings.queries


def _parameters(make: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(make).parameters)
    except (TypeError, ValueError):  # a callable written in C tells no signature
        return {"split"}
