"""A fitted estimator in one folder: tensors as safetensors, all else as text; nothing in it is executed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors
import safetensors.torch
from torch import Tensor

from metaft.assembly.learners import PATTERN, weights_digest
from metaft.assembly.meta_learner import run_config
from metaft.data.texts.tokenizer import FILE as TOKENIZER
from metaft.data.texts.tokenizer import of_file
from metaft.environment import environment
from metaft.errors import MetaftError
from metaft.estimator.images import ImageInputs
from metaft.estimator.inputs import Inputs
from metaft.estimator.numbers import NumberInputs
from metaft.estimator.source import Source, of_backbone, of_run
from metaft.estimator.texts import TextInputs
from metaft.estimator.written_texts import WrittenTexts
from metaft.files import clear_disk_errors, folder_path, write_atomically
from metaft.learners.spec import Spec
from metaft.models.backbones.source import stored, with_weights
from metaft.parts import Asked
from metaft.plain_json import write_json
from metaft.plugins import found_in_file, image_network
from metaft.prompting.pattern import of_fields
from metaft.prompting.pattern_files import is_file
from metaft.runs import checkpoint
from metaft.runs.checkpoint import MAX_PART_BYTES, Checkpoint
from metaft.runs.directory import RunDirectory, read_record
from metaft.runs.own_adapters import adapter_files, with_own_adapters
from metaft.runs.own_files import BACKBONE
from metaft.runs.reading import dig, entries, read_bytes, read_json
from metaft.runs.recorded import recorded_config
from metaft.tasks.table import COLUMNS, Columns

RECORD, SUPPORT, RUN, PATTERNS = "estimator.json", "support.safetensors", "run", "patterns.toml"
FORMAT = 1
"""Raised when older programs could no longer read the files."""
LABELS = ("int", "float", "str", "bool")


class Fitted(Protocol):
    """What is written of an estimator."""

    inputs_: Inputs
    support_x_: Tensor
    support_y_: Tensor

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """As of scikit-learn's estimators."""


@dataclasses.dataclass(frozen=True)
class State:
    """What a folder says of an estimator.

    Args:
        estimator: the name of its class.
        params: its parameters, the learner left out.
        attributes: what it has learned: name → value.
    """

    estimator: str
    params: dict[str, Any]
    attributes: dict[str, Any]


def is_saved(folder: str | Path) -> bool:
    """Whether a folder holds a saved estimator."""
    return (Path(folder) / RECORD).is_file()


def write(folder: str | Path, fitted: Fitted, source: Source, weights: Mapping[str, Tensor]) -> None:
    """Write a fitted estimator.

    Args:
        folder: new, or empty.
        fitted: the estimator.
        source: of its learner.
        weights: that the learner stands on, told by their digest.

    Raises:
        MetaftError: if the folder holds something, or cannot be written.
    """
    place = folder_path(folder, "folder")
    if place.exists() and any(place.iterdir()):
        raise MetaftError(f"{place} is not empty; name a new folder")
    spec, inputs = source.spec, fitted.inputs_
    record: dict[str, Any] = {
        "program": "metaft",
        "format": FORMAT,
        "estimator": type(fitted).__name__,
        "params": {name: value for name, value in fitted.get_params().items() if name != "learner"},
        "learner": {"kind": spec.kind, "target": spec.target, "options": dict(spec.options)},
        "weights_sha256": weights_digest(weights),
        "inputs": inputs.describe(),
        "attributes": _attributes(fitted),
        "versions": environment()["versions"],
    }
    with clear_disk_errors(str(place)):
        place.mkdir(parents=True, exist_ok=True)
    if source.run is not None:
        _copy_run(source.run, place / RUN, source.spec.options.get("weights", "best"))
    if source.images is not None and (own := stored(source.images)) is not None:
        write_atomically(place / BACKBONE, own)
        record["learner"]["options"]["backbone"] = with_weights(source.images, Path(BACKBONE))
    if isinstance(inputs, TextInputs):
        write_atomically(place / TOKENIZER, inputs.tokenizer.text.encode())
    file, sign, name = spec.options.get(PATTERN, "").partition("#")
    if is_file(file):
        write_atomically(place / PATTERNS, Path(file).read_bytes())
        record["learner"]["options"][PATTERN] = f"{PATTERNS}{sign}{name}"
    support = safetensors.torch.save({"x": fitted.support_x_.contiguous(), "y": fitted.support_y_.contiguous()})
    write_atomically(place / SUPPORT, support)
    record["support_sha256"] = hashlib.sha256(support).hexdigest()
    write_json(place / RECORD, record)  # the last: without it there is nothing to load


def source(folder: str | Path) -> Source:
    """The learner of a saved estimator.

    Args:
        folder: that holds it.

    Returns:
        The source; its weights are those that were saved, or it cannot be made.

    Raises:
        MetaftError: if it is damaged, of a newer metaft, or names code that nobody has trusted.
    """
    record, place = _record(folder), Path(folder)
    told = entries(record, "learner")
    kind, target, options = (told.get(name) for name in ("kind", "target", "options"))
    sound = isinstance(target, str) and isinstance(options, dict) and kind in ("table", "run", "import")
    if not sound or not all(isinstance(value, str) for value in options.values()):  # type: ignore[union-attr]
        raise MetaftError(f"{place / RECORD} is damaged: it does not say which learner it is of")
    assert isinstance(options, dict)
    own = {name: value for name, value in options.items() if kind != "run" or name != "weights"}
    has_run = (place / RUN).is_dir()
    if kind == "run":
        target = str(place / RUN)
    elif has_run:
        own["backbone"] = str(place / RUN)
    elif (place / BACKBONE).is_file() and image_network(own.get("backbone")) is not None:
        own["backbone"] = with_weights(own["backbone"], place / BACKBONE)
    if (place / PATTERNS).exists() and own.get(PATTERN, "").startswith(PATTERNS):
        own[PATTERN] = str(place / own[PATTERN])
    for value in (target, *own.values()):
        found_in_file(str(value), place / RECORD)
    spec = Spec(str(Asked(str(target), own)), kind, str(target), own)  # type: ignore[arg-type]
    found = (
        of_run(spec, run_config(spec.target)) if kind == "run" else of_backbone(spec, place / RUN) if has_run else None
    )
    return dataclasses.replace(found or Source(spec), weights_sha256=str(record.get("weights_sha256")))


def read(folder: str | Path) -> State:
    """Read a saved estimator.

    Args:
        folder: that holds it.

    Returns:
        What it says; the learner is named by the folder, and made when it is asked.

    Raises:
        MetaftError: as `source`.
    """
    record, place = _record(folder), Path(folder)
    content = read_bytes(place / SUPPORT, MAX_PART_BYTES)
    if hashlib.sha256(content).hexdigest() != record.get("support_sha256"):
        raise MetaftError(f"{place / SUPPORT} does not match its checksum; save the estimator again")
    try:
        support = safetensors.torch.load(content)
        attributes: dict[str, Any] = {"support_x_": support["x"], "support_y_": support["y"]}
        attributes |= {"inputs_": _inputs(entries(record, "inputs"), place)}
        attributes |= _restored(entries(record, "attributes"))
    except (safetensors.SafetensorError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, MetaftError):
            raise
        raise MetaftError(f"{place / RECORD} is damaged: {type(error).__name__}: {error}") from None
    return State(str(record.get("estimator")), entries(record, "params"), attributes)


def _record(folder: str | Path) -> dict[str, Any]:
    record = read_json(Path(folder) / RECORD)
    version = record.get("format")
    if record.get("program") != "metaft" or type(version) is not int:
        raise MetaftError(f"{Path(folder) / RECORD} was not written by metaft")
    if version > FORMAT:
        raise MetaftError(f"{folder} has format {version}, this metaft reads up to {FORMAT}; update metaft")
    return record


def _copy_run(run: Path, place: Path, weights: str) -> None:
    """What answers need of a run, as a run directory: settings, one checkpoint of the weights chosen, and its words."""
    stored = checkpoint.load_newest(RunDirectory(run).checkpoints)
    with clear_disk_errors(str(place)):
        place.mkdir(parents=True, exist_ok=True)
    for name in ("config.toml", TOKENIZER, COLUMNS):
        if (run / name).exists():
            write_atomically(place / name, read_bytes(run / name))
    for name, content in adapter_files(with_own_adapters(recorded_config(run), run)).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place / name, content)
    chosen = Checkpoint({"iteration": int(stored.progress["iteration"])}, stored.chosen(weights), base=stored.base)
    checkpoint.save(place / "checkpoints", chosen)
    record = {name: value for name, value in read_record(run).items() if name not in ("command", "history")}
    write_json(place / "run.json", record)


def _attributes(fitted: Any) -> dict[str, Any]:
    """Labels, names of columns and shapes, as JSON has them."""
    found: dict[str, Any] = {}
    if (classes := getattr(fitted, "classes_", None)) is not None:
        values = classes.tolist()
        names = {type(value).__name__ for value in values}
        if not names <= set(LABELS):
            raise MetaftError(f"labels of type {', '.join(sorted(names - set(LABELS)))} cannot be saved; use texts")
        found["classes"] = {"values": values, "dtype": "object" if classes.dtype == object else classes.dtype.str}
    if (columns := getattr(fitted, "feature_names_in_", None)) is not None:
        found["feature_names"] = [str(name) for name in columns]
    for name in ("n_features_in_", "_one_target"):
        if hasattr(fitted, name):
            found[name] = getattr(fitted, name)
    return found


def _restored(told: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "classes" in told:
        dtype = np.dtype(told["classes"]["dtype"])
        if dtype.kind not in "iufUbO":
            raise ValueError(f"labels of type {dtype}")
        found["classes_"] = np.array(told["classes"]["values"], dtype=dtype)
    if "feature_names" in told:
        found["feature_names_in_"] = np.array(told["feature_names"], dtype=object)
    if "n_features_in_" in told:
        found["n_features_in_"] = int(told["n_features_in_"])
    if "_one_target" in told:
        found["_one_target"] = bool(told["_one_target"])
    return found


def _inputs(told: Mapping[str, Any], place: Path) -> Inputs:
    options = {name: value for name, value in told.items() if name != "kind"}
    if told.get("kind") == "texts":
        pattern = None if options.get("pattern") is None else of_fields(options["pattern"])
        goes_on = bool(options.get("goes_on", False))
        return TextInputs(of_file(place, str(options["tokenizer"])), options["most"], pattern, goes_on)
    if told.get("kind") == "written texts":
        return WrittenTexts(**options)
    if told.get("kind") == "images":
        return ImageInputs(**options)
    columns = dig(told, "columns")
    return NumberInputs(
        None if columns is None else Columns(**{n: tuple(v) for n, v in columns.items()}), bool(options["exact"])
    )
