"""The settings of a training loop."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from metaft.seeds import Seed
from metaft.settings.family import Settings


class LoopSettings(Settings):
    """A training loop, whatever it trains on."""

    iterations: int | None = Field(None, ge=1, le=10**10, description="meta-updates")
    minutes: float | None = Field(
        None, gt=0, le=1e7, description="time budget, compiling not counted; the schedule then follows the clock"
    )
    outer_lr: float = Field(1e-3, gt=0, le=1e3, description="Adam's learning rate")
    schedule: Literal["constant", "cosine"] = Field("constant", description="course of the outer learning rate")
    clip: float | None = Field(None, gt=0, description="largest norm of the meta-gradient [no clipping]")
    average: float = Field(0.0, ge=0, lt=1, description="decay of the weights' moving average used for scores; 0: off")
    seed: Seed = Field(0, description="of the initial weights and the tasks")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to compute")
    threads: int = Field(1, ge=1, le=1024, description="threads inside an operator; small networks gain from workers")
    log_every: int = Field(20, ge=1, description="iterations between rows of metrics")
    validate_every: int = Field(250, ge=1, description="iterations between validations")
    validate_tasks: int = Field(200, ge=2, le=10**7, description="validation tasks")
    checkpoint_every: int = Field(250, ge=1, description="iterations between checkpoints")

    @model_validator(mode="before")
    @classmethod
    def _default_length(cls, given: dict[str, Any]) -> dict[str, Any]:
        unlimited = given.get("iterations") is None and given.get("minutes") is None
        return {**given, "iterations": 1000} if unlimited else given


class TrainSettings(LoopSettings):
    """The outer loop."""

    tasks: int = Field(32, ge=1, le=1_000_000, description="tasks a meta-update")
    diagnose: bool = Field(False, description="log the adjoint's norm at each inner step (exploding, vanishing)")


class MetaTrainSettings(TrainSettings):
    """The outer loop, and how its tasks differ from those of validation and test."""

    train_ways: int | None = Field(
        None, ge=2, le=100_000, description="classes in a training task, for methods without a head of so many [--ways]"
    )
