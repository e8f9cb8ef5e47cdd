"""The settings of ``metaft pretrain``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from pydantic import Field, model_validator

from metaft.plugins import FOREIGN, foreign
from metaft.processors import cores
from metaft.settings.config import CommandSettings
from metaft.settings.defaults import BY_DATASET, OF_WORDS, REGRESSIONS, TEXTS
from metaft.settings.family import FamilySettings, Settings, with_dataset
from metaft.settings.learner import ModelSettings
from metaft.settings.train import LoopSettings, with_outer
from metaft.tables import WORD_OBJECTIVES

CLASSES = "classes"


class PretrainSettings(LoopSettings):
    """Supervised training on all training classes."""

    default_iterations = 4000

    iterations: int | None = Field(None, ge=1, le=10**10)
    """minibatches"""
    batch_size: int = Field(128, ge=2, le=1_000_000)
    """examples a minibatch, or passages"""
    outer_lr: float = Field(3e-3, gt=0, le=1e3)
    """its learning rate; given alone, that of adam"""
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """course of that rate, down to 0"""
    head: Literal["linear", "cosine"] = "linear"
    """classifier: linear, or by cosines (Baseline++)"""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """share of the target spread over all classes"""
    shift: int = Field(0, ge=0, le=256)
    """augmentation: move each image by up to so many pixels"""


class PassageSettings(Settings):
    """Training on the words of a corpus."""

    objective: str = CLASSES
    """classes; or of a corpus (openstax, all, your own .txt): masked, masked+order, causal, or with options:
    masked:share=0.3,whole_words=true"""
    length: int = Field(128, ge=8, le=100_000)
    """places of a passage, where words are trained on"""


class SupervisedConfig(CommandSettings, ModelSettings, PretrainSettings):
    """What training on classes can be told; ways, shots and queries are of the validation tasks."""

    counted = "images"

    @property
    def tasks(self) -> int:
        """What the training loop counts in: images, or passages."""
        return self.batch_size

    @property
    def diagnose(self) -> bool:
        """There are no inner steps to diagnose."""
        return False

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_dataset(cls, given: dict[str, Any]) -> dict[str, Any]:
        known = FamilySettings.model_fields | ModelSettings.model_fields
        given = with_dataset(given)
        defaults = dict(BY_DATASET.get(str(given.get("dataset")), {}))
        named = (
            [foreign(given.get(name)) for name in ("model", "teacher_model")] if given.get("dataset") in TEXTS else []
        )
        if others := next(filter(None, named), None):  # a pretrained model knows the words of its own
            defaults["tokenizer"] = f"{FOREIGN}{others.name}"
        return {**{name: value for name, value in defaults.items() if name in known}, **given}

    @model_validator(mode="after")
    def _has_classes(self) -> Self:
        if self.dataset in REGRESSIONS:
            what = "pretraining tells classes apart, this is a regression"
            raise ValueError(f"dataset = {self.dataset}: {what}")
        return self


SECTIONS: dict[str, type[Settings]] = {
    "family": FamilySettings,
    "model": ModelSettings,
    "pretrain": PretrainSettings,
    "passages": PassageSettings,
}


class PretrainConfig(SupervisedConfig, PassageSettings):
    """Everything ``metaft pretrain`` can be told."""

    command = "pretrain"
    makes = "pretrained"
    sections = SECTIONS

    @property
    def on_words(self) -> bool:
        """Whether words of a corpus are trained on, and no classes."""
        return self.objective != CLASSES

    @property
    def default_name(self) -> str:
        """Of a run directory where none is given."""
        words = self.objective.partition(":")[0]
        return f"{self.dataset}-{words if self.on_words else self.makes}".replace("/", "-")

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_objective(cls, given: dict[str, Any]) -> dict[str, Any]:
        if (asked := str(given.get("objective") or CLASSES)) == CLASSES:
            return given
        found = cast(Any, WORD_OBJECTIVES.make(asked))
        given = {name: value for name, value in given.items() if value is not None}
        _refuse_idle(given, OF_WORDS)
        # One network, and products large enough for every core.
        defaults = {**OF_WORDS, "tokenizer": "bpe" if found.causal else "wordpiece", "threads": cores()}
        return with_outer(given, defaults)


def _refuse_idle(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse what a corpus has no use for: it would seem to do something."""
    idle = {"ways", "shots", "queries", "within", "scheme", "rotations", "colours", "head", "label_smoothing", "shift"}
    for name in sorted(idle):
        allowed = {str(PretrainConfig.model_fields[name].default), str(defaults.get(name))}
        if (value := given.get(name)) is not None and str(value) not in allowed:
            raise ValueError(f"{name} = {value}: an objective on words ({given['objective']}) has no use for it")
