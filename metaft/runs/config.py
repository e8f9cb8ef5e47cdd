"""The settings of a run: the same name in Python, in the TOML file and on the command line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, overload

from pydantic import Field, ValidationError, model_validator

from metaft.errors import MetaftError, nearest
from metaft.plugins import found_in_file, trust
from metaft.runs.family_settings import BY_DATASET, REGRESSIONS, FamilySettings, Settings
from metaft.runs.method_settings import method_defaults
from metaft.runs.teacher_settings import TeacherSettings

MAX_BATCH_VALUES = 2**32
"""The most numbers one batch of tasks may hold: 16 GiB of float32, far beyond any shipped experiment."""

MAX_TOML_BYTES = 2**20
_SHOWN = 200
"""Characters of a value that a message shows."""


class ModelSettings(Settings):
    """Which network is adapted."""

    model: str = Field("conv4", description="network: conv4, resnet12, mlp, or your own: package.module:NAME")
    hidden: int = Field(64, ge=1, le=65_536, description="channels or units of a hidden layer, or of the first block")
    pool: Literal["stride", "max"] = Field("stride", description="how conv4 halves the image")
    widths: Literal["wide", "doubling"] = Field(
        "wide", description="resnet12's blocks: hidden × 1, 2.5, 5, 10 or hidden × 1, 2, 4, 8"
    )


class LearnerSettings(Settings):
    """How a task is learned, and how the meta-gradient is obtained."""

    learner: str = Field(
        "maml",
        description="method: maml, fomaml, anil, boil, reptile, imaml, meta-sgd, maml++, cavia, proto-maml, "
        "meta-curvature, protonet, matching, r2d2, in-context, or your own: package.module:NAME",
    )
    steps: int | None = Field(
        1, ge=0, le=10_000, description="inner gradient steps in training; some methods have their own"
    )
    inner_lr: float | None = Field(
        2.0, gt=0, le=1e6, description="inner learning rate on the mean support loss; some methods have their own"
    )
    scope: str | None = Field(
        None, description="what adapts: all, head, body, biases, first:K, last:K or a name pattern [the method's own]"
    )
    meta_scope: str | None = Field(
        None, description="what is meta-trained, likewise; rates: what the rule learns [all,rates]"
    )
    rule: Literal["sgd", "momentum", "adam", "rmsprop", "meta-sgd", "lslr", "meta-curvature"] | None = Field(
        None, description="how an inner step moves [the method's own]"
    )
    objective: Literal["task", "l2", "l2-after", "kl"] | None = Field(
        None,
        description="what the inner loop descends: the loss, or with a pull to the start (l2-after: after the last "
        "step, as in iMAML's code) [the method's own]",
    )
    objective_weight: float | None = Field(None, gt=0, le=1e9, description="strength of that pull [the method's own]")
    estimator: Literal["exact", "first-order", "finite-difference", "implicit", "reptile"] | None = Field(
        None, description="how the meta-gradient is obtained [the method's own]"
    )
    solver_iterations: int | None = Field(
        None, ge=1, le=10**6, description="implicit: conjugate-gradient iterations a task [imaml: 5, else 20]"
    )
    context: int | None = Field(None, ge=1, le=65_536, description="cavia: numbers that adapt [100 for images, else 5]")
    epochs: int | None = Field(None, ge=1, le=10**6, description="maml++: parts of the run, to anneal by [100]")
    multi_step_epochs: int | None = Field(
        None, ge=0, le=10**6, description="maml++: so many begin with a loss after every step [10]"
    )
    first_order_epochs: int | None = Field(
        None, ge=0, le=10**6, description="maml++: so many begin with first-order gradients [50]"
    )
    distance: Literal["euclidean", "cosine"] | None = Field(None, description="protonet: to class means [euclidean]")
    regularisation: float | None = Field(None, gt=0, le=1e9, description="r2d2: the penalty to begin with [1]")
    layers: int | None = Field(None, ge=1, le=100, description="in-context: blocks of the transformer [2]")
    token_width: int | None = Field(None, ge=1, le=65_536, description="in-context: numbers a token [64]")
    batch_norm: Literal["transductive", "inductive", "running", "per-step"] | None = Field(
        None,
        description="whose statistics normalise the queries: the query batch's, the support set's, or those gathered "
        "in training (not with an inner loop; per-step: after each step, maml++) [the method's own; with an inner "
        "loop: transductive, maml++: per-step, else running]",
    )
    memory: Literal["flat", "checkpoints", "graph"] = Field(
        "flat", description="run inner steps again in the reverse pass, or keep their graph"
    )
    engine: Literal["compile", "eager", "higher"] = Field(
        "compile", description="compile the meta-gradient (worth it beyond a minute), or not; or through higher"
    )
    workers: Literal["auto"] | int = Field(
        "auto", description="threads that share a meta-update's tasks; from images of 64×64 on, its operators"
    )

    @model_validator(mode="after")
    def _sane_workers(self) -> Self:
        if self.workers != "auto" and not 1 <= self.workers <= 1024:
            raise ValueError(f"workers = {self.workers}: should be 'auto' or 1 to 1024")
        return self


class LoopSettings(Settings):
    """A training loop, whatever it trains on."""

    iterations: int | None = Field(
        None, ge=1, le=10**10, description="meta-updates [1000, sinusoid 70000, unless minutes is given]"
    )
    minutes: float | None = Field(None, gt=0, le=1e7, description="time budget; the schedule then follows the clock")
    outer_lr: float = Field(1e-3, gt=0, le=1e3, description="Adam's learning rate")
    schedule: Literal["constant", "cosine"] = Field("constant", description="course of the outer learning rate")
    clip: float | None = Field(None, gt=0, description="largest norm of the meta-gradient [no clipping]")
    average: float = Field(0.0, ge=0, lt=1, description="decay of the weights' moving average used for scores; 0: off")
    seed: int = Field(0, ge=0, lt=2**63, description="of the initial weights and the tasks")
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


class EvaluateSettings(Settings):
    """What ``metaft evaluate`` does unless told otherwise."""

    test_tasks: int = Field(600, ge=2, le=10**8, description="test tasks")
    test_steps: int | None = Field(None, ge=0, le=10_000, description="inner steps at test [as in training]")


class CommandSettings(Settings):
    """All that a training command can be told, flat; the sections are only headings of the TOML file."""

    command: ClassVar[str]
    counted: ClassVar[str] = "tasks"
    sections: ClassVar[dict[str, type[Settings]]]


SECTIONS: dict[str, type[Settings]] = {
    "family": FamilySettings,
    "model": ModelSettings,
    "learner": LearnerSettings,
    "teacher": TeacherSettings,
    "train": MetaTrainSettings,
    "evaluate": EvaluateSettings,
}


class RunConfig(
    CommandSettings,
    FamilySettings,
    ModelSettings,
    LearnerSettings,
    TeacherSettings,
    MetaTrainSettings,
    EvaluateSettings,
):
    """Everything ``metaft meta-train`` can be told."""

    command = "meta-train"
    sections = SECTIONS

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_dataset_and_method(cls, given: dict[str, Any]) -> dict[str, Any]:
        defaults = BY_DATASET.get(str(given.get("dataset")), {}) | method_defaults(given)
        if given.get("minutes") is not None:
            defaults.pop("iterations", None)
        return {**defaults, **given}

    @model_validator(mode="after")
    def _fits_in_memory(self) -> Self:
        image = self.dataset not in REGRESSIONS
        ways = max(self.ways, self.train_ways or 0)
        examples = (ways if image else 1) * (self.shots + self.queries)
        values = self.tasks * examples * (self.image_size**2 if image else 1)
        if values > MAX_BATCH_VALUES:
            raise ValueError(
                f"a batch of tasks = {self.tasks}, ways = {ways}, shots = {self.shots}, "
                f"queries = {self.queries} would hold {values:.2g} numbers; make one of them smaller"
            )
        return self


S = TypeVar("S", bound=Settings)
C = TypeVar("C", bound=CommandSettings)


def validated(kind: type[S], values: Mapping[str, Any]) -> S:
    """Check settings; the first mistake becomes one line.

    Args:
        kind: the settings class.
        values: setting name → value; text is converted, as the command line gives it.

    Returns:
        The settings, defaults filled in.

    Raises:
        MetaftError: for an unknown name or a value out of range, naming both.
    """
    for name in values:
        if name not in kind.model_fields:
            raise MetaftError(f"unknown setting {name!r}{nearest(name, kind.model_fields)}")
    for name, value in values.items():
        # Pydantic would read true as 1.
        if isinstance(value, bool) and kind.model_fields[name].annotation is not bool:
            raise MetaftError(f"{name} = {str(value).lower()}: should not be a boolean")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if not first["loc"]:
            raise MetaftError(str(first["ctx"]["error"])) from None
        name, value = str(first["loc"][0]), first["input"]
        reason = first["msg"].removeprefix("Input s").removeprefix("Value error, ")
        reason = f"s{reason}" if first["msg"].startswith("Input s") else reason
        if name == "workers":
            reason = "should be 'auto' or a whole number"
        hint = f"; {kind.model_fields[name].description}" if first["type"] != "literal_error" else ""
        raise MetaftError(f"{name} = {str(value)[:_SHOWN]}: {reason}{hint}") from None


def read_toml(path: str | Path, kind: type[CommandSettings] = RunConfig) -> dict[str, Any]:
    """Read settings from a TOML file.

    Args:
        path: the file. Settings lie under their section's heading or before any heading.
        kind: the command's settings.

    Returns:
        Setting name → value, sections flattened; values are not checked yet, names are.

    Raises:
        MetaftError: if the file cannot be read or a name is unknown or under the wrong heading.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_TOML_BYTES + 1)
    except OSError as error:
        raise MetaftError(f"cannot read config {path}: {error.strerror or error}") from None
    if len(content) > MAX_TOML_BYTES:
        raise MetaftError(f"config {path} is larger than {MAX_TOML_BYTES:,} bytes")
    try:
        tree = tomllib.loads(content.decode())
    except RecursionError:
        raise MetaftError(f"config {path} is not valid TOML: nested too deeply") from None
    except ValueError as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise MetaftError(f"config {path} is not valid TOML: {error}") from None
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        entries = value if isinstance(value, dict) else {name: value}
        if isinstance(value, dict) and name not in kind.sections:
            raise MetaftError(f"config {path}: unknown section [{name}]{nearest(name, kind.sections)}")
        for key, entry in entries.items():
            if key not in kind.model_fields:
                raise MetaftError(f"config {path}: unknown setting {key!r}{nearest(key, kind.model_fields)}")
            if isinstance(value, dict) and key not in kind.sections[name].model_fields:
                raise MetaftError(f"config {path}: {key!r} belongs under [{section_of(key, kind)}], not [{name}]")
            if key in flat:
                raise MetaftError(f"config {path}: {key!r} is given twice")
            if isinstance(entry, str):
                found_in_file(entry, path)
            flat[key] = entry
    return flat


@overload
def load_config(path: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> RunConfig: ...


@overload
def load_config(path: str | Path | None, overrides: Mapping[str, Any] | None, kind: type[C]) -> C: ...


def load_config(
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    kind: type[CommandSettings] = RunConfig,
) -> CommandSettings:
    """Settings from a file, some of them overridden.

    Args:
        path: a TOML file, or None for defaults only.
        overrides: setting name → value; None means not given.
        kind: the command's settings.

    Returns:
        The checked settings.

    Raises:
        MetaftError: as ``read_toml`` and ``validated``.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    read = read_toml(path, kind) if path is not None else {}
    for value in given.values():
        trust(str(value))
    return validated(kind, {**read, **given})


def section_of(name: str, kind: type[CommandSettings] = RunConfig) -> str:
    """The heading a setting belongs under."""
    return next(section for section, part in kind.sections.items() if name in part.model_fields)


def to_toml(config: CommandSettings) -> str:
    """All settings as TOML that ``load_config`` reads back to an equal object."""
    lines = []
    for section, kind in config.sections.items():
        lines.append(f"[{section}]")
        values = {name: getattr(config, name) for name in kind.model_fields}
        # JSON's strings, numbers and booleans are TOML's; a setting that is None is left out.
        lines += [
            f"{k} = {json.dumps(v, ensure_ascii=False).replace(chr(127), chr(92) + 'u007f')}"
            for k, v in values.items()
            if v is not None
        ]
        lines.append("")
    return "\n".join(lines)
