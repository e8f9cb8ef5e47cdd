"""The settings of a training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from metaft.parts import Asked
from metaft.seeds import Seed
from metaft.settings.callbacks import asked_callbacks
from metaft.settings.family import Settings
from metaft.settings.once import require_once
from metaft.tables import OUTER

ADAM = "adam"
BESIDE = {"lr": "outer_lr", "schedule": "schedule", "warmup": "warmup"}
"""Options that every outer optimiser has, and the settings that they are."""


def with_outer(given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings whose outer optimiser has its own options with it; rate and schedule stand beside it.

    Args:
        given: setting → value. A rate without an optimiser is Adam's, as it was when there was no other.
        defaults: what holds where a setting is not given; what they say of another optimiser's rate and schedule does
            not.

    Returns:
        The settings, defaults filled in.

    Raises:
        MetaftError: if the optimiser or an option is unknown, or rate or schedule are given in both ways.
    """
    own = dict(defaults or {})
    if given.get("outer") is None and given.get("outer_lr") is None:
        return {**own, **given}
    asked = OUTER.asked(str(given.get("outer") or ADAM))
    if asked.name != own.pop("outer", asked.name):
        for name in BESIDE.values():
            own.pop(name, None)
    options = dict(asked.options)
    beside = {setting: options.pop(name) for name, setting in BESIDE.items() if name in options}
    require_once(given, "outer", beside)
    if asked.name != ADAM and given.get("outer_lr") is None and "outer_lr" not in own:
        beside = {"outer_lr": OUTER.options(asked.name)["lr"].default} | beside
    return {**own, **given, "outer": str(Asked(asked.name, options)), **beside}


class LoopSettings(Settings):
    """A training loop, whatever it trains on."""

    lengths: ClassVar[tuple[str, ...]] = ("iterations", "minutes")
    default_iterations: ClassVar[int] = 1000
    """Where none of `lengths` is given."""

    iterations: int | None = Field(None, ge=1, le=10**10)
    """meta-updates"""
    minutes: float | None = Field(None, gt=0, le=1e7)
    """time budget, compiling not counted; the schedule then follows the clock"""
    outer: str = ADAM
    """outer optimiser: adam, or one of torch's: sgd, adamw, nadam, radam, adamax, adagrad, adadelta, adafactor,
    rmsprop, rprop, asgd; with options: sgd:lr=1,schedule=linear (metaft parts outer)"""
    outer_lr: float = Field(1e-3, gt=0, le=1e3)
    """its learning rate; given alone, that of adam"""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """course of that rate, down to 0"""
    warmup: float = Field(0.0, ge=0, lt=1)
    """share of the run in which that rate rises from 0"""
    clip: float | None = Field(None, gt=0)
    """largest norm of the meta-gradient [no clipping]"""
    average: float = Field(0.0, ge=0, lt=1)
    """decay of the weights' moving average used for scores; 0: off"""
    seed: Seed = 0
    """of the initial weights and the tasks"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """where to compute; auto: cuda where it is, else cpu"""
    threads: int = Field(1, ge=1, le=1024)
    """threads inside an operator; small networks gain from workers"""
    log_every: int = Field(20, ge=1)
    """iterations between rows of metrics"""
    validate_every: int = Field(250, ge=1)
    """iterations between validations"""
    validate_tasks: int = Field(200, ge=2, le=10**7)
    """validation tasks"""
    checkpoint_every: int = Field(250, ge=1)
    """iterations between checkpoints"""
    callbacks: str | None = None
    """what is told of the run as it goes: csv, wandb, mlflow, or your own module:NAME; with options as in
    wandb:project=birds; several joined by + (metaft parts callback) [none]"""

    @model_validator(mode="before")
    @classmethod
    def _default_length(cls, given: dict[str, Any]) -> dict[str, Any]:
        asked_callbacks(given.get("callbacks"))
        unlimited = all(given.get(name) is None for name in cls.lengths)
        return with_outer(given) | ({"iterations": cls.default_iterations} if unlimited else {})


class EarlyStopping(Settings):
    """When a run ends before its end."""

    patience: int | None = Field(None, ge=1)
    """end after so many validations without a better one [never]"""


class TrainSettings(LoopSettings, EarlyStopping):
    """The outer loop."""

    tasks: int = Field(32, ge=1, le=1_000_000)
    """tasks a meta-update"""
    diagnose: bool = False
    """log the adjoint's norm at each inner step (exploding, vanishing)"""


class MetaTrainSettings(TrainSettings):
    """The outer loop, and how its tasks differ from those of validation and test."""

    train_ways: int | None = Field(None, ge=2, le=100_000)
    """classes in a training task, for methods without a head of so many [--ways]"""
