"""What building a run's network asks of its data, told by the run alone: the data may lie elsewhere by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from metaft.assembly.tasks import CHANNELS, build_family
from metaft.data import catalog
from metaft.data.texts.labelled_texts import LabelledTokens
from metaft.data.texts.tokenizer import Tokenizer, of_file
from metaft.errors import MetaftError
from metaft.plugins import is_import_path
from metaft.prompting.text_lookup import Texts
from metaft.runs.directory import read_record
from metaft.runs.reading import dig, entries
from metaft.settings.config import RunConfig
from metaft.settings.defaults import REGRESSIONS, TEXTS
from metaft.tasks.family import Kind, TaskFamily

SHORTEST = 8
"""Places of a text where nobody says it: no network is bound to it."""


@dataclass(frozen=True)
class Shape:
    """All that building a network or learner asks of its tasks.

    Args:
        outputs: how many classes, or values.
        input_shape: of an example.
        images: of texts, no text, but what the numbers of their words mean.
        kind: of the tasks.
        lookup: from examples to their texts, for a learner that writes prompts.
    """

    outputs: int
    input_shape: tuple[int, ...]
    images: LabelledTokens | None = None
    kind: Kind = "classification"
    lookup: Texts | None = None

    @property
    def family(self) -> TaskFamily:
        """As builders take it; no task can be drawn from it."""
        return cast(TaskFamily, self)


def no_texts(tokenizer: Tokenizer) -> LabelledTokens:
    """No text at all, in the words of a tokenizer."""
    nothing = torch.zeros(0, dtype=torch.int64)
    words = (tokenizer.vocabulary, tokenizer.digest)
    return LabelledTokens(
        nothing.int(), torch.zeros(1, dtype=torch.int64), nothing, (), *words, tokenizer=tokenizer.text
    )


def words_of(path: str | Path, told: Mapping[str, Any]) -> LabelledTokens | None:
    """The words that a run was trained on, without any text.

    Args:
        path: the run directory.
        told: what the run says of its training tasks.

    Returns:
        The words; None for a run that was not trained on texts.
    """
    return no_texts(of_file(path, str(told.get("tokenizer")))) if told.get("words") is not None else None


def of_classifier(path: str | Path, record: Mapping[str, object]) -> Shape:
    """What a pretrained classifier was trained on.

    Args:
        path: the run directory.
        record: of the run.

    Returns:
        Its classes and the shape of its examples.

    Raises:
        MetaftError: if the record does not say it.
    """
    classes, shape = (dig(record, "settings", "family", name) for name in ("classes", "input_shape"))
    if type(classes) is not int or not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise MetaftError(f"{Path(path) / 'run.json'} is damaged: it does not say which images the run was trained on")
    return Shape(classes, tuple(shape), words_of(path, entries(record, "settings", "family")))


def of_learner(path: str | Path, config: RunConfig) -> Shape:
    """What a meta-trained learner was trained on.

    Args:
        path: the run directory.
        config: its settings.

    Returns:
        Ways or values, and the shape of its examples. Of runs that do not say these, they are taken from the settings;
        of runs on tasks of the user's own, from those.

    Raises:
        MetaftError: if neither says it.
    """
    record = read_record(path)
    kind: Kind = "regression" if dig(record, "task", "kind") == "regression" else "classification"
    outputs, shape = dig(record, "task", "outputs"), dig(record, "task", "input_shape")
    if type(outputs) is int and isinstance(shape, list) and all(type(size) is int for size in shape):
        if kind == "classification" and not is_import_path(config.dataset):
            outputs = config.ways  # not those of training, which may be more where no head is bound to them
        return Shape(outputs, tuple(shape), words_of(path, entries(record, "settings", "family")), kind)
    return _as_set(path, config, entries(record, "settings", "family"))


def _as_set(path: str | Path, config: RunConfig, told: Mapping[str, Any]) -> Shape:
    """As the settings say it."""
    if config.dataset in TEXTS:
        return Shape(config.ways, (SHORTEST,), words_of(path, told))
    if config.dataset == "sinusoid":
        return Shape(1, (1,), kind="regression")
    if config.dataset == "table":
        columns = {name: str(told.get(name, "")).split(",") for name in ("features", "target")}
        return Shape(len(columns["target"]), (len(columns["features"]),), kind="regression")
    if not is_import_path(config.dataset) and config.dataset not in REGRESSIONS:
        channels = CHANNELS[config.colours] or catalog.dataset(config.dataset).channels
        return Shape(config.ways, (channels, config.image_size, config.image_size))
    family = build_family(config, "val", config.seed)
    return Shape(family.outputs, tuple(family.input_shape), kind=family.kind)
