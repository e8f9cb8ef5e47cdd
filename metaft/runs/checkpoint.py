"""Checkpoints: one folder each, complete or absent, checked by digest, read without running any code."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.files import clear_disk_errors, sync_folder, write_synced
from metaft.runs.frozen_base import FrozenBase
from metaft.runs.own_files import CHECKPOINT, holds_parts, remove_checkpoint
from metaft.runs.reading import MAX_BYTES, dig, read_bytes

FORMAT = 2
"""Raised when older programs could no longer read the files; a checkpoint without a base left out is still of 1."""

PARTS = ("weights", "average", "best", "optimiser")
MAX_PART_BYTES = 4 * 2**30
"""Adam's state of half a thousand million parameters; a file from a stranger may not fill the memory."""
_PREFIX, _TEMPORARY, _PROGRESS = "iteration-", ".writing-", "progress.json"

log = logging.getLogger(__name__)


class DamagedCheckpointError(Exception):
    """A checkpoint that is not what was written."""


@dataclass(frozen=True)
class Checkpoint:
    """All a run needs to go on as if it had never stopped.

    Args:
        progress: JSON-able; holds at least ``iteration``.
        weights: the meta-parameters as trained.
        average: their moving average, or empty.
        best: the meta-parameters with the best validation score, or empty.
        optimiser: the optimiser's tensors and the random state, by flat names.
        path: where it was read from.
        base: what all weights lack, see `metaft.runs.frozen_base`; None where they are whole.
    """

    progress: dict[str, Any]
    weights: dict[str, Tensor]
    average: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    optimiser: dict[str, Tensor] = field(default_factory=dict)
    path: Path | None = None
    base: FrozenBase | None = None

    def chosen(self, weights: str) -> dict[str, Tensor]:
        """The weights that a learner is to have.

        Args:
            weights: "best" by validation, the last ones of a run that was never validated; or "last".
        """
        return (self.best if weights == "best" else {}) or self.average or self.weights


def save(folder: Path, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Write a checkpoint; earlier ones are removed only once it is whole on the disk.

    Args:
        folder: holds the run's checkpoints; made if absent.
        checkpoint: what to write.
        keep: how many to keep, this one included.

    Returns:
        The new checkpoint's folder.

    Raises:
        MetaftError: if a weight is not finite, or the disk is full or read-only; what was there before stays.
    """
    for name, weight in checkpoint.weights.items():
        if not bool(weight.isfinite().all()):
            raise MetaftError(f"weights {name!r} are not finite; not saved, the last good checkpoint is kept")
    iteration = int(checkpoint.progress["iteration"])
    final = folder / f"{_PREFIX}{iteration:010d}"
    temporary = folder / f"{_TEMPORARY}{os.getpid()}"
    before = newest_name(folder)
    kept = f"the last good checkpoint, {before}, is intact" if before else "there was no checkpoint before it"
    with clear_disk_errors(f"checkpoint {final}", kept):
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True)
                sync_folder(folder.parent)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            _write_parts(temporary, checkpoint)
            if final.exists():  # Only a damaged one, or the same again: the run has reached this iteration anew.
                remove_checkpoint(final)
            if final.exists():  # A user's file lies there.
                _move_into(temporary, final)
            else:
                os.rename(temporary, final)
            sync_folder(folder)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    _tidy(folder, final, keep)
    return final


def load_newest(folder: Path) -> Checkpoint:
    """Read the newest whole checkpoint; a damaged one is passed over, with a warning.

    Args:
        folder: holds the run's checkpoints.

    Returns:
        The checkpoint, tensors on the CPU.

    Raises:
        MetaftError: if there is none that is whole, or the newest was written by a newer metaft.
    """
    found = folders(folder)[::-1]
    if not found:
        raise MetaftError(f"no checkpoint in {folder}; nothing to go on from")
    for path in found:
        try:
            return read(path)
        except DamagedCheckpointError as error:
            log.warning("checkpoint %s is damaged (%s); trying the one before", path.name, error)
    raise MetaftError(f"all {len(found)} checkpoints in {folder} are damaged; start anew with --overwrite")


def give_up_after(folder: Path, kept: Path) -> None:
    """Remove checkpoints newer than the one a run goes on from: they are damaged, and must not outlive it.

    Args:
        folder: holds the run's checkpoints.
        kept: the one that was read.
    """
    for path in folders(folder):
        if path.name > kept.name:
            _remove(path)


def folders(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, unverified; not what else a user keeps beside them.

    Args:
        folder: holds the run's checkpoints.
    """
    found = sorted(path for path in folder.glob(f"{_PREFIX}*") if CHECKPOINT.fullmatch(path.name))
    return [path for path in found if holds_parts(path)]


def read(path: Path) -> Checkpoint:
    """Read one checkpoint and verify every byte of it.

    Args:
        path: its folder.

    Returns:
        The checkpoint.

    Raises:
        DamagedCheckpointError: if a file is missing, cut short or changed.
        MetaftError: if it was written by a newer metaft.
    """
    record = _read_record(path)
    parts = {}
    for name, digest in record["files"].items():
        if name not in PARTS:
            raise DamagedCheckpointError(f"unknown part {name!r}")
        content = _read_file(path / f"{name}.safetensors", MAX_PART_BYTES)
        if _digest(content) != digest:
            raise DamagedCheckpointError(f"{name}.safetensors does not match its checksum")
        try:
            parts[name] = safetensors.torch.load(content)
        except (safetensors.SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise DamagedCheckpointError(f"{name}.safetensors: {error}") from error
    if not parts.get("weights"):
        raise DamagedCheckpointError("it holds no weights")
    return Checkpoint(progress=record["progress"], path=path, base=_base(record.get("base")), **parts)


def require_fit(stored: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: object) -> None:
    """Check that stored weights belong to the network at hand.

    Args:
        stored: weights from a checkpoint.
        expected: the learner's meta-parameters.
        where: the checkpoint, for the message.

    Raises:
        MetaftError: naming the first parameter that is missing, unknown or of another shape or type.
    """
    whose = f"checkpoint {where} is of another architecture"
    for name in (*expected, *stored):
        if name not in stored:
            raise MetaftError(f"{whose}: it has no parameter {name!r}")
        if name not in expected:
            raise MetaftError(f"{whose}: the model has no parameter {name!r}")
    for name, want in expected.items():
        found = stored[name]
        if found.shape != want.shape or found.dtype != want.dtype:
            there, here = (f"{list(weight.shape)} {weight.dtype}" for weight in (found, want))
            raise MetaftError(f"{whose}: {name!r} is {there} there, {here} in the model")


def newest_name(folder: Path) -> str | None:
    """The name of the newest checkpoint, unverified, or None."""
    return max((path.name for path in folders(folder)), default=None)


def _read_record(path: Path) -> dict[str, Any]:
    """The checkpoint's list of files with their digests, and its progress; as it was written."""
    content = _read_file(path / _PROGRESS, MAX_BYTES)
    try:
        record = dict(json.loads(content))
        seal, sealed = record.pop("sha256"), _digest(_canonical(record))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedCheckpointError(f"{_PROGRESS}: {type(error).__name__}") from error
    if seal != sealed:
        raise DamagedCheckpointError(f"{_PROGRESS} does not match its checksum")
    version = record.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise MetaftError(f"checkpoint {path} has format {version}, this metaft reads up to {FORMAT}; update metaft")
    # A stranger can seal anything.
    if not isinstance(record.get("files"), dict) or type(dig(record, "progress", "iteration")) is not int:
        raise DamagedCheckpointError(f"{_PROGRESS} is not that of a checkpoint")
    return record


def _base(said: Any) -> FrozenBase | None:
    """The base that a checkpoint says it lacks."""
    if said is None:
        return None
    name, names, sha256 = (dig(said, entry) for entry in ("name", "names", "sha256"))
    texts = [name, sha256, *(names if isinstance(names, list) else [None])]
    if not all(isinstance(text, str) for text in texts):
        raise DamagedCheckpointError(f"{_PROGRESS} does not say which base is left out")
    return FrozenBase(name, tuple(names), sha256)


def _read_file(path: Path, most: int) -> bytes:
    try:
        return read_bytes(path, most)
    except MetaftError as error:
        raise DamagedCheckpointError(error.message) from error


def _write_parts(folder: Path, checkpoint: Checkpoint) -> None:
    digests = {}
    for name in PARTS:
        tensors = {key: t.detach().cpu().contiguous() for key, t in getattr(checkpoint, name).items()}
        if tensors:
            content = safetensors.torch.save(tensors)
            if len(content) > MAX_PART_BYTES:
                raise MetaftError(f"{name} of {len(content):,} bytes is more than a checkpoint takes")
            write_synced(folder / f"{name}.safetensors", content)
            digests[name] = _digest(content)
    record = {"format": 1, "files": digests, "progress": checkpoint.progress}
    if checkpoint.base is not None:
        record |= {"format": FORMAT, "base": asdict(checkpoint.base)}
    write_synced(folder / _PROGRESS, _canonical({**record, "sha256": _digest(_canonical(record))}))
    sync_folder(folder)


def _tidy(folder: Path, newest: Path, keep: int) -> None:
    """Remove what is no longer needed; those after the newest belong to a future that was given up."""
    found = folders(folder)
    past = [path for path in found if path.name <= newest.name]
    for path in found:
        if path not in past[-keep:]:
            _remove(path)
    for path in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def _move_into(temporary: Path, final: Path) -> None:
    """Move a checkpoint's files into a folder that holds others; its record last, as without it there is none."""
    for file in sorted(temporary.iterdir(), key=lambda file: file.name == _PROGRESS):
        os.rename(file, final / file.name)
    temporary.rmdir()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        remove_checkpoint(path)


def _canonical(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, indent=1, allow_nan=False).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
