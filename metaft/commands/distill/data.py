"""What a distillation learns from, is chosen by and is scored on: held-out examples, or tasks of other classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from metaft.assembly.tasks import CHANNELS, SMALLEST, build_family, image_options
from metaft.commands.pretrain import build_pretraining
from metaft.data import catalog
from metaft.data.example_split import ExampleSplit, divide, load_example_split
from metaft.data.images import LabelledImages
from metaft.data.label_noise import with_label_noise
from metaft.data.leave_out import leave_out
from metaft.data.texts.labelled_texts import LabelledTokens
from metaft.errors import MetaftError
from metaft.evaluation.held_out import HeldOut
from metaft.plugins import is_import_path
from metaft.settings.defaults import TEXTS
from metaft.settings.distill import DistillConfig, GenerationConfig
from metaft.tasks.episodes import Episodes
from metaft.tasks.family import TaskFamily
from metaft.tasks.minibatches import Minibatches

PROBE = 2000
"""Training images on which answers are watched where no example of the classes is held out."""


@dataclass(frozen=True)
class DistillData:
    """The data of a distillation, the same for all generations.

    Args:
        train: the training images.
        validation: what checkpoints, temperatures and generations are chosen by.
        probe: images of the training classes on which a student is held against its teacher.
    """

    train: Minibatches
    validation: HeldOut | TaskFamily
    probe: HeldOut

    def minibatches(self, config: GenerationConfig) -> Minibatches:
        """The training images of one generation, in its order and with its augmentation; its students' lack a class."""
        own = dataclasses.replace(self.train, seed=config.seed, shift=config.shift)
        if config.leave_out is None or not config.generation:
            return own
        left = {**own.details, "left_out": config.leave_out}
        return dataclasses.replace(own, images=leave_out(own.images, [config.leave_out]), details=left)

    def per_epoch(self, batch_size: int) -> int:
        """Minibatches in an epoch."""
        return max(1, len(self.train.images) // batch_size)


def build_data(config: DistillConfig) -> DistillData:
    """Read the data, and divide it.

    Args:
        config: the settings.

    Returns:
        The data without test examples: those are read when all is chosen (`tested_on`).

    Raises:
        MetaftError: for an unknown data set, data that is absent, or too few images.
    """
    if config.validation == "few-shot":
        parts = build_pretraining(config)
        data = DistillData(parts.train, parts.validation, _probe(parts.train))
    else:
        split = _split(config)
        details = {**_details(config), "examples": split.digest[:16], "split_seed": config.split_seed}
        train = Minibatches(split.train, 0, config.seed, config.dataset, "train", details)
        held_out = HeldOut(split.val, config.dataset, "val", details)
        data = DistillData(train, held_out, held_out)
    if config.label_noise:
        noisy = with_label_noise(data.train.images, config.noise, config.label_noise, config.seed)
        details = {**data.train.details, **noisy.described}
        data = dataclasses.replace(data, train=dataclasses.replace(data.train, images=noisy.images, details=details))
    data.train.batch(0, config.batch_size)  # too few images for a minibatch: say so before any work
    return data


def tested_on(config: DistillConfig) -> HeldOut | TaskFamily:
    """What the generations are scored on, once, when all is chosen.

    Args:
        config: the settings.

    Returns:
        Held-out test examples of the training classes, or tasks of the test classes.
    """
    if config.validation == "few-shot":
        return build_family(config, "test", config.seed)
    return HeldOut(_split(config).test, config.dataset, "test", _details(config))


def _probe(train: Minibatches) -> HeldOut:
    """Some training images, evenly spaced over the classes."""
    examples = train.images
    rows = torch.linspace(0, len(examples) - 1, min(PROBE, len(examples))).long()
    counts = torch.bincount(examples.labels[rows], minlength=examples.classes)
    return HeldOut(examples.keep(rows, counts), train.dataset, "train", train.details)


def _split(config: DistillConfig) -> ExampleSplit:
    """The examples of the training classes, divided into train, val and test."""
    shares: dict[str, Any] = {"val": config.validation_share, "test": config.test_share, "seed": config.split_seed}
    if config.dataset in TEXTS:
        return _texts(config, shares)
    if is_import_path(config.dataset):
        family = build_family(config.model_copy(update=SMALLEST), "train", config.seed)
        if not isinstance(family, Episodes) or not isinstance(family.images, LabelledImages):
            raise MetaftError(f"distillation tells classes of images apart; {config.dataset} gives no images")
        parts = divide(family.images, **shares)
        return ExampleSplit(*parts)
    split = load_example_split(config.dataset, root=config.data_root, **shares, **_details(config))
    channels = CHANNELS[config.colours]
    if channels is None:
        return split
    every = (split.train, split.val, split.test)
    return ExampleSplit(*(part.with_channels(channels) for part in every if isinstance(part, LabelledImages)))


def _texts(config: DistillConfig, shares: Mapping[str, Any]) -> ExampleSplit:
    """Texts of the training classes; where all splits have the same ones, as the data set itself divides them."""

    def read(split: str) -> LabelledTokens:
        family = build_family(config.model_copy(update=SMALLEST), split, config.seed)
        assert isinstance(family, Episodes)
        assert isinstance(family.images, LabelledTokens)
        return family.images

    train = read("train")
    return ExampleSplit(train, read("val"), read("test")) if train.shared else ExampleSplit(*divide(train, **shares))


def _details(config: DistillConfig) -> dict[str, Any]:
    """What the data set's loader is told, of our settings."""
    own = is_import_path(config.dataset)
    if config.dataset in TEXTS:
        told = ("scheme", "within", "dataset_options", "max_words")
        return {name: value for name in told if (value := getattr(config, name)) is not None}
    return {} if own else image_options(config, catalog.dataset(config.dataset).options)
