"""A run's settings for tasks of another data set: cross-domain evaluation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from metaft.assembly.tasks import CHANNELS, build_family
from metaft.data import catalog
from metaft.errors import MetaftError
from metaft.learners import ANY_WAYS
from metaft.plugins import is_import_path
from metaft.settings.config import RunConfig, validated
from metaft.settings.defaults import BY_DATASET
from metaft.settings.family import with_dataset

log = logging.getLogger("metaft")
NAMES = {channels: name for name, channels in CHANNELS.items() if channels}


def evaluation_config(own: RunConfig, given: Mapping[str, Any]) -> RunConfig:
    """The settings to evaluate a run with: its own, but for what is given and what another data set brings with it.

    Images of another data set are scaled to the run's size and turned grey (0.299 red + 0.587 green + 0.114 blue) or
    into colour, as the run was trained. They keep their polarity: characters are bright on black.

    Args:
        own: the run's settings.
        given: setting → value; None means not given.

    Returns:
        The settings.

    Raises:
        MetaftError: for a value out of range, or more or fewer ways than the run tells apart.
    """
    asked = with_dataset({name: value for name, value in given.items() if value is not None})
    # A number given for a run with a range replaces the range.
    changes = {f"fewest_{name}": None for name in ("ways", "shots") if name in asked} | asked
    dataset = str(asked.get("dataset", own.dataset))
    if dataset != own.dataset:
        theirs, scheme = BY_DATASET.get(dataset, {}), RunConfig.model_fields["scheme"].default
        other = {"scheme": theirs.get("scheme", scheme), "min_examples": None, "within": None, "tokenizer": None}
        other |= {"dataset_options": None, "split_column": None}
        other["rotations"] = theirs.get("rotations", own.rotations)
        other["colours"] = asked.get("colours") or _colours(own, dataset)
        if own.dataset in ("folder", "table", "texts"):
            other["data_root"] = None
        changes = other | changes
    config = validated(RunConfig, {**own.model_dump(), **changes, "train_ways": None})
    if config.ways != own.ways and own.method not in ANY_WAYS:
        raise MetaftError(
            f"the run tells {own.ways} classes apart, not {config.ways}; evaluate it on {own.ways}-way tasks, "
            f"or on some of fewer ways with --ways 2-{own.ways}"
        )
    return config


def _colours(own: RunConfig, dataset: str) -> str | None:
    """What the other data set's images have to become; says so where that changes them."""
    trained, there = CHANNELS[own.colours] or _channels(own.dataset), _channels(dataset)
    if trained is None:
        shape = build_family(own, "val", own.seed).input_shape
        trained = shape[0] if len(shape) == 3 else 0
    if trained not in NAMES:
        return None
    if there and there != trained:
        log.warning("%s: images are turned %s, as the run was trained", dataset, {1: "grey", 3: "into colour"}[trained])
    return NAMES[trained]


def _channels(dataset: str) -> int | None:
    return None if is_import_path(dataset) else catalog.dataset(dataset).channels
