"""The settings of ``metaft pretrain``."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from metaft.settings.config import CommandSettings
from metaft.settings.defaults import BY_DATASET, REGRESSIONS, TEXTS
from metaft.settings.family import FamilySettings, Settings, with_dataset
from metaft.settings.learner import ModelSettings
from metaft.settings.train import LoopSettings


class PretrainSettings(LoopSettings):
    """Supervised training on all training classes."""

    default_iterations = 4000

    iterations: int | None = Field(None, ge=1, le=10**10)
    """minibatches"""
    batch_size: int = Field(128, ge=2, le=1_000_000)
    """images a minibatch"""
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


SECTIONS: dict[str, type[Settings]] = {"family": FamilySettings, "model": ModelSettings, "pretrain": PretrainSettings}


class PretrainConfig(CommandSettings, ModelSettings, PretrainSettings):
    """Everything ``metaft pretrain`` can be told; ways, shots and queries are of the validation tasks."""

    command = "pretrain"
    makes = "pretrained"
    counted = "images"
    sections = SECTIONS

    @property
    def tasks(self) -> int:
        """What the training loop counts in: images."""
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
        defaults = BY_DATASET.get(str(given.get("dataset")), {})
        return {**{name: value for name, value in defaults.items() if name in known}, **given}

    @model_validator(mode="after")
    def _has_classes(self) -> Self:
        if self.dataset in REGRESSIONS:
            what = "pretraining tells classes of images apart, this is a regression"
            raise ValueError(f"dataset = {self.dataset}: {what}")
        if self.dataset in TEXTS:
            raise ValueError(f"dataset = {self.dataset}: pretraining tells classes of images apart, these are texts")
        return self
