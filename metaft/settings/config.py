"""The settings of a run: the same name in Python, in the TOML file and on the command line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, overload

from pydantic import Field, ValidationError, model_validator

from metaft.errors import MetaftError, nearest
from metaft.plugins import FOREIGN, foreign, found_in_file, named_part, trust
from metaft.settings.defaults import BY_DATASET, REGRESSIONS, TEXTS
from metaft.settings.family import RANGES, FamilySettings, Settings, is_flag, with_dataset
from metaft.settings.learner import FLAGS, OF_LEARNERS, LearnerSettings, ModelSettings, called_now, with_options
from metaft.settings.published import CHANGES_TEST, method_defaults
from metaft.settings.teacher import QueryTeacherSettings
from metaft.settings.train import MetaTrainSettings, with_outer

MAX_BATCH_VALUES = 2**32
"""The most numbers one batch of tasks may hold: 16 GiB of float32, far beyond any shipped experiment."""

MAX_TOML_BYTES = 2**20
_SHOWN = 200
"""Characters of a value that a message shows."""


class EvaluateSettings(Settings):
    """What ``metaft evaluate`` does unless told otherwise."""

    test_tasks: int = Field(600, ge=2, le=10**8)
    """test tasks"""
    test_steps: int | None = Field(None, ge=0, le=10_000)
    """inner steps at test [the method's own; as in training where steps or parts are given]"""


class CommandSettings(Settings):
    """All that a training command can be told, flat; the sections are only headings of the TOML file."""

    command: ClassVar[str]
    counted: ClassVar[str] = "tasks"
    makes: ClassVar[str]
    """What its run directories are called after the data set."""
    sections: ClassVar[dict[str, type[Settings]]]
    common: ClassVar[tuple[str, ...]] = ()
    """The settings that ``--help`` shows; all of them if empty."""

    @property
    def default_name(self) -> str:
        """Of a run directory where none is given."""
        raise NotImplementedError

    @classmethod
    def renewed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings as an older version wrote them, as they are now."""
        return dict(values)


SECTIONS: dict[str, type[Settings]] = {
    "family": FamilySettings,
    "model": ModelSettings,
    "learner": LearnerSettings,
    "teacher": QueryTeacherSettings,
    "train": MetaTrainSettings,
    "evaluate": EvaluateSettings,
}


class RunConfig(
    CommandSettings,
    FamilySettings,
    ModelSettings,
    LearnerSettings,
    QueryTeacherSettings,
    MetaTrainSettings,
    EvaluateSettings,
):
    """Everything ``metaft meta-train`` can be told."""

    command = "meta-train"
    makes = "LEARNER"
    sections = SECTIONS
    older = OF_LEARNERS
    common = (
        "dataset", "scheme", "ways", "shots", "queries", "data_root", "model", "hidden", "addition", "learner",
        "steps", "inner_lr", "scope", "engine", "iterations", "minutes", "outer_lr", "tasks", "seed",
        "device", "validate_every",
    )  # fmt: skip

    @property
    def default_name(self) -> str:
        """Of a run directory where none is given."""
        return f"{self.dataset}-{self.method}"

    @property
    def method(self) -> str:
        """The learner's name, without its options."""
        return named_part(self.learner, "learner").name

    @classmethod
    def renewed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """As `CommandSettings`: options of single learners are with the learner."""
        return with_options(values)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_dataset_and_method(cls, given: dict[str, Any]) -> dict[str, Any]:
        given = with_dataset(given)
        if given.get("learner") is not None:
            given["learner"] = called_now(str(given["learner"]))
        method = named_part(str(given.get("learner") or "maml"), "learner").name
        defaults = BY_DATASET.get(str(given.get("dataset")), {}) | method_defaults({**given, "learner": method})
        given = with_options(given, defaults)
        defaults = {name: value for name, value in defaults.items() if name not in OF_LEARNERS}
        if given.get("minutes") is not None:
            defaults.pop("iterations", None)
        if any(given.get(name) is not None for name in CHANGES_TEST):
            defaults.pop("test_steps", None)
        others = foreign(str(given.get("model"))) if given.get("dataset") in TEXTS else None
        if others and given.get("tokenizer") is None:
            defaults["tokenizer"] = f"{FOREIGN}{others.name}"  # a pretrained model knows the words of its own
        return with_outer(given, defaults)

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
        if name not in kind.model_fields and name not in kind.older:
            raise MetaftError(f"unknown setting {name!r}{nearest(name, kind.model_fields)}")
    for name, value in values.items():
        # Pydantic would read true as 1.
        flag = name in FLAGS if name in kind.older else is_flag(kind.model_fields[name])
        if isinstance(value, bool) and not flag:
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
            reason = "should be 'auto' or a whole number from 1 to 1024"
        hint = f"; {kind.model_fields[name].description}" if first["type"] != "literal_error" else ""
        raise MetaftError(f"{name} = {str(value)[:_SHOWN]}: {reason}{hint}") from None


def toml_tree(path: str | Path, what: str) -> tuple[str, dict[str, Any]]:
    """Read a TOML file of a sensible size.

    Args:
        path: the file.
        what: it holds, for the message.

    Returns:
        Its text, and its entries, unchecked.

    Raises:
        MetaftError: if it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_TOML_BYTES + 1)
        if len(content) > MAX_TOML_BYTES:
            raise MetaftError(f"{what} {path} is larger than {MAX_TOML_BYTES:,} bytes")
        text = content.decode("utf-8-sig")
        return text, tomllib.loads(text)
    except MetaftError:
        raise
    except OSError as error:
        raise MetaftError(f"cannot read {what} {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number of thousands of digits, nested deeply
        raise MetaftError(f"{what} {path} is not valid TOML: {error}") from None


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
    flat: dict[str, Any] = {}
    for name, value in toml_tree(path, "config")[1].items():
        entries = value if isinstance(value, dict) else {name: value}
        if isinstance(value, dict) and name not in kind.sections:
            raise MetaftError(f"config {path}: unknown section [{name}]{nearest(name, kind.sections)}")
        for key, entry in entries.items():
            if key not in kind.model_fields and key not in kind.older:
                raise MetaftError(f"config {path}: unknown setting {key!r}{nearest(key, kind.model_fields)}")
            if isinstance(value, dict) and section_of(key, kind) != name:
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
    path: str | Path | None = None, overrides: Mapping[str, Any] | None = None, kind: type[CommandSettings] = RunConfig
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
    given = _apart({name: value for name, value in (overrides or {}).items() if value is not None}, kind)
    read = _apart(read_toml(path, kind) if path is not None else {}, kind)
    for value in given.values():
        trust(str(value))
    return validated(kind, {**read, **given})


def _apart(given: dict[str, Any], kind: type[CommandSettings]) -> dict[str, Any]:
    """Settings whose options behind a name stand beside it: those of a command override a file's by setting."""
    if "learner" in given and "learner" in kind.model_fields:
        given = with_options(given)
    if "dataset" in given:
        given = with_dataset(given)
    return with_outer(given) if "outer" in given else given


def section_of(name: str, kind: type[CommandSettings] = RunConfig) -> str:
    """The heading a setting belongs under."""
    if name in kind.older:
        return "learner"
    return next(section for section, part in kind.sections.items() if name in part.model_fields)


def to_toml(config: CommandSettings) -> str:
    """All settings as TOML that ``load_config`` reads back to an equal object."""
    lines = []
    for section, kind in config.sections.items():
        lines.append(f"[{section}]")
        for name in kind.model_fields:
            if (value := getattr(config, name)) is not None:
                # JSON's strings, numbers and booleans are TOML's, but for the one control character it leaves as it is.
                lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f"))
        lines.append("")
    return "\n".join(lines)


def to_json_schema(kind: type[CommandSettings]) -> dict[str, Any]:
    """What a TOML file of a command may hold, as JSON Schema has it (draft 2020-12), for editors.

    Args:
        kind: the command's settings.

    Returns:
        The schema: a table a section, with types, bounds, defaults and what each setting does.
    """
    tables = {section: {**own.model_json_schema(), "title": section} for section, own in kind.sections.items()}
    settings = {name: told for table in tables.values() for name, told in table["properties"].items()}
    for name in RANGES:
        if name in settings:
            settings[name]["anyOf"] = [
                {"type": settings[name].pop("type")},
                {"type": "string", "pattern": r"^\d+-\d+$"},
            ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"metaft {kind.command}",
        "type": "object",
        "additionalProperties": False,
        "properties": settings | tables,  # settings may also stand before any heading
    }
