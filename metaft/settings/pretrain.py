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
from metaft.settings.train import EarlyStopping, LoopSettings, with_outer
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
    teacher: str | None = None
    """whose words are learned from as well: a run on words, stories260k, hf:smollm2 or hf:FOLDER [none]"""
    temperature: float = Field(2.0, gt=0, le=1e6)
    """softens what teacher and student say"""
    label_weight: float = Field(0.5, ge=0, le=1)
    """share of the words of the text in the loss; the rest is the teacher"""


class SupervisedConfig(CommandSettings, FamilySettings, ModelSettings, PretrainSettings):
    """What training on classes can be told; ways, shots and queries are of the validation tasks."""

    counted = "images"

    @property
    def default_name(self) -> str:
        """Of a run directory where none is given."""
        return f"{self.dataset}-{self.makes}"

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


class OnceSettings(PretrainSettings, EarlyStopping):
    """Training of one network."""


SECTIONS: dict[str, type[Settings]] = {
    "family": FamilySettings,
    "model": ModelSettings,
    "pretrain": OnceSettings,
    "passages": PassageSettings,
}


class PretrainConfig(SupervisedConfig, OnceSettings, PassageSettings):
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
        taught = [name for name in ("temperature", "label_weight") if given.get(name) is not None]
        if taught and given.get("teacher") is None and not _is_default(given, taught):
            raise ValueError(
                f"{taught[0]} = {given[taught[0]]}: of what a teacher says, and there is none; give --teacher"
            )
        if (asked := str(given.get("objective") or CLASSES)) == CLASSES:
            if given.get("teacher") is not None:
                raise ValueError(
                    f"teacher = {given['teacher']}: of words (--objective causal); metaft distill teaches classes"
                )
            return given
        found = cast(Any, WORD_OBJECTIVES.make(asked))
        given = {name: value for name, value in given.items() if value is not None}
        _refuse_idle(given, OF_WORDS)
        # One network, and products large enough for every core.
        words = "bpe" if found.causal else "wordpiece"
        if (teacher := given.get("teacher")) is not None:  # its student says words of its own
            words = f"{FOREIGN}{others.name}" if (others := foreign(teacher)) else teacher
        defaults = {**OF_WORDS, "tokenizer": words, "threads": cores()}
        return with_outer(given, defaults)


def _is_default(given: Mapping[str, Any], names: list[str]) -> bool:
    """Whether these settings are what they are by default, as a run's own file says them."""
    return all(str(given[name]) == str(PassageSettings.model_fields[name].default) for name in names)


def _refuse_idle(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse what a corpus has no use for: it would seem to do something."""
    idle = {
        "ways",
        "shots",
        "queries",
        "within",
        "scheme",
        "rotations",
        "colours",
        "head",
        "label_smoothing",
        "shift",
        "addition",
        "frozen",
    }
    for name in sorted(idle):
        allowed = {str(PretrainConfig.model_fields[name].default), str(defaults.get(name))}
        if (value := given.get(name)) is not None and str(value) not in allowed:
            raise ValueError(f"{name} = {value}: an objective on words ({given['objective']}) has no use for it")
