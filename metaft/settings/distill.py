"""The settings of ``metaft distill``, and of each generation's own run."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from metaft.distillation.choices import LossChoices
from metaft.settings.defaults import OF_DISTILLATION
from metaft.settings.family import FamilySettings, Settings, with_dataset
from metaft.settings.learner import ModelSettings
from metaft.settings.pretrain import PretrainSettings, SupervisedConfig
from metaft.settings.train import with_outer

TEACHERS = ("model", "hidden", "shift", "dropout", "input_dropout", "epochs")
"""Settings that generation 0 may have for itself."""
MAX_TEMPERATURES = 50


class FirstGenerationSettings(Settings):
    """Generation 0, where it differs from the students."""

    teacher: str | None = None
    """run directory to begin from, instead of training generation 0"""
    teacher_model: str | None = None
    """network of generation 0 [the student's]"""
    teacher_hidden: int | None = Field(None, ge=1, le=65_536)
    """its channels or units [the student's]"""
    teacher_shift: int | None = Field(None, ge=0, le=256)
    """its augmentation in pixels [the student's]"""
    teacher_dropout: float | None = Field(None, ge=0, lt=1)
    """its dropout (mlp) [the student's]"""
    teacher_input_dropout: float | None = Field(None, ge=0, lt=1)
    """likewise of its inputs [the student's]"""
    teacher_epochs: float | None = Field(None, gt=0, le=1e7)
    """its length in epochs [the student's length]"""


class DistillationSettings(Settings):
    """How one generation learns from the one before it."""

    generations: int = Field(1, ge=1, le=1000)
    """students, one after the other, each taught by the last"""
    patience: int | None = Field(None, ge=1, le=1000)
    """stop after so many generations without a better validation score [never]"""
    temperature: str = "4"
    """softens the teacher's scores; 1,4,20 chooses by validation"""
    label_weight: float = Field(0.5, ge=0, le=1)
    """share of the labels in the loss; the rest is the teacher"""
    loss: Literal["soft", "logits", "hidden", "hidden-cosine"] = "soft"
    """what of the teacher is matched: soft labels, logits, or what its head is given"""
    control: Literal["none", "dkpp", "cwtm", "longer", "smoothing"] = "none"
    """in place of the teacher's own soft labels, a control that isolates why they help"""
    label_noise: float = Field(0.0, ge=0, lt=1)
    """share of the training labels that are made wrong"""
    noise: Literal["symmetric", "pairwise"] = "symmetric"
    """into any class, or into the next one"""
    leave_out: str | None = None
    """name of a class that students never see an example of"""
    cache: Literal["auto", "on", "off"] = "auto"
    """keep the teacher's answers on the disk: always, never, or where that is quicker"""
    validation: Literal["classification", "few-shot"] | None = None
    """choose by held-out examples of the classes, or by tasks of other classes"""
    validation_share: float = Field(0.1, gt=0, le=1e6)
    """of each class's examples, or how many of them (classification)"""
    test_share: float = Field(0.2, gt=0, le=1e6)
    """likewise for the test; mnist has its own test images"""
    test_tasks: int = Field(600, ge=2, le=10**8)
    """test tasks (few-shot)"""


class DistillTrainSettings(PretrainSettings):
    """How long and how fast each generation is trained."""

    lengths = ("iterations", "minutes", "epochs")

    epochs: float | None = Field(None, gt=0, le=1e7)
    """passes through the training images, for iterations"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """share of hidden units that is dropped (mlp)"""
    input_dropout: float = Field(0.0, ge=0, lt=1)
    """share of inputs that is dropped (mlp)"""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """of labels; control smoothing, from generation 1: 0.1"""


SECTIONS: dict[str, type[Settings]] = {
    "family": FamilySettings,
    "model": ModelSettings,
    "teacher": FirstGenerationSettings,
    "distillation": DistillationSettings,
    "train": DistillTrainSettings,
}


class DistillConfig(SupervisedConfig, FirstGenerationSettings, DistillationSettings, DistillTrainSettings):
    """Everything ``metaft distill`` can be told; ways, shots and queries are of few-shot validation tasks."""

    command = "distill"
    makes = "distilled"
    sections = SECTIONS

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_distillation(cls, given: dict[str, Any]) -> dict[str, Any]:
        given = with_dataset(given)
        defaults = dict(OF_DISTILLATION.get(str(given.get("dataset")), {}))
        if any(given.get(name) is not None for name in cls.lengths):
            defaults.pop("epochs", None)
        if given.get("teacher") is not None or given.get("control") == "longer":
            defaults.pop("teacher_hidden", None)
        for name, model in (("hidden", given.get("model")), ("teacher_hidden", given.get("teacher_model"))):
            if (model or given.get("model") or "mlp") != "mlp" and name in defaults:
                # So many units are channels too many for a network of convolutions.
                defaults[name] = ModelSettings.model_fields["hidden"].default
        made = with_outer({k: v for k, v in given.items() if v is not None}, {"validation": "few-shot", **defaults})
        return {**made, "temperature": _listed(made.get("temperature", "4"))}

    @model_validator(mode="after")
    def _sane(self) -> Self:
        self.loss_choices()  # refuses what does not go together
        if self.epochs is not None and self.iterations is not None:
            raise ValueError("epochs and iterations both say how long a generation is trained; give one of them")
        if self.cache == "on" and self.shift:
            raise ValueError(
                f"cache = on and shift = {self.shift}: images moved at random cannot be looked up; say auto"
            )
        idle = [f"teacher_{name}" for name in TEACHERS if getattr(self, f"teacher_{name}") is not None]
        if self.teacher is not None and idle:
            raise ValueError(f"{idle[0]} is of a teacher to be trained, but teacher = {self.teacher} is one")
        if not self.uses_temperature and self.temperature != "4":
            raise ValueError(f"temperature = {self.temperature}: nothing to soften, {self._why} uses no temperature")
        if self.loss != "soft" and (self.control == "cwtm" or not self.uses_teacher):
            why = f"control = {self.control}" if self.control != "none" else f"label_weight = {self.label_weight:g}"
            raise ValueError(f"loss = {self.loss} has no effect: with {why} students do not match their teacher")
        if self.control in ("dkpp", "cwtm") and self.label_weight == 1:
            raise ValueError(f"control = {self.control} has no effect: label_weight = 1 leaves nothing to the teacher")
        if self.noise != "symmetric" and not self.label_noise:
            raise ValueError(f"noise = {self.noise}: of which share of the labels? say it by label_noise")
        return self

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Those to choose from; usually one."""
        return tuple(float(word) for word in self.temperature.split(","))

    def loss_choices(self) -> LossChoices:
        """What a student descends."""
        control = self.control if self.control in ("dkpp", "cwtm") else "none"
        weight = self.label_weight if self.uses_teacher else 1.0
        return LossChoices(self.loss, self.temperatures[0], weight, control, self.label_smoothing, self.seed)

    @property
    def uses_temperature(self) -> bool:
        """Whether the loss of a student depends on it."""
        return self.loss == "soft" and self.control in ("none", "dkpp") and self.label_weight < 1

    @property
    def uses_teacher(self) -> bool:
        """Whether a student learns from the generation before it, rather than from labels alone."""
        return self.control not in ("longer", "smoothing") and self.label_weight < 1

    @property
    def _why(self) -> str:
        if self.control != "none":
            return f"control = {self.control}"
        return f"loss = {self.loss}" if self.loss != "soft" else f"label_weight = {self.label_weight:g}"


class GenerationSettings(Settings):
    """Which run of a distillation this is."""

    generation: int = Field(0, ge=0, le=1000)
    """0 learns from labels, k from generation k − 1"""


class GenerationConfig(DistillConfig, GenerationSettings):
    """What one generation was trained with, in a run directory of its own below that of ``metaft distill``."""

    command = "generation"
    sections = SECTIONS | {"generation": GenerationSettings}


def generation_config(config: DistillConfig, generation: int, per_epoch: int, temperature: float) -> GenerationConfig:
    """The settings of one generation.

    Args:
        config: of all of them.
        generation: which; generation 0 has the teacher's network, length and augmentation.
        per_epoch: minibatches in an epoch of its training images.
        temperature: at which it learns.

    Returns:
        The settings; its length in iterations, its seed its own.
    """
    values = config.model_dump() | {"patience": None}  # it counts generations; each is trained to its end
    if generation == 0:
        for name in TEACHERS:
            values[name] = own if (own := values[f"teacher_{name}"]) is not None else values[name]
        if config.teacher_epochs is not None:
            values["minutes"] = None
        values["cache"] = "off"  # it has no teacher, and may be trained on images that are moved
    else:
        from metaft.tasks.random import generator  # here, as its package brings torch with it

        values["seed"] = int(generator(config.seed, "distillation/generation", generation).integers(10**6))
        if config.control == "smoothing":
            values["label_smoothing"] = config.label_smoothing or 0.1
    if values["epochs"] is not None:
        values["iterations"] = max(1, math.ceil(values["epochs"] * per_epoch))
    values |= {"epochs": None, "temperature": f"{temperature:g}", "generation": generation}
    # What was decided above is not to be decided again by defaults.
    return GenerationConfig.model_construct(**values)


def _listed(given: object) -> str:
    """Temperatures as ``"1,4,20"``.

    Raises:
        ValueError: if one is no finite number above 0, or there are none or too many.
    """
    try:
        found = [float(word) for word in str(given).split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < value < 1e9 for value in found):
        raise ValueError(f"temperature = {str(given)[:80]}: should be a number above 0, or some joined by commas")
    if len(found) > MAX_TEMPERATURES:
        raise ValueError(f"temperature = {str(given)[:80]} …: {len(found)} to choose from, at most {MAX_TEMPERATURES}")
    return ",".join(dict.fromkeys(f"{value:g}" for value in found))
