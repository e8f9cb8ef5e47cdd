"""Decoded data kept as one checked file each: written whole or not at all, rebuilt when damaged."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from metaft.data.images import LabelledImages
from metaft.data.locate import cache_dir
from metaft.errors import MetaftError
from metaft.files import replace_file

log = logging.getLogger(__name__)
# Part of every file name: a change of layout never reads an older file.
FORMAT = "v1"


@dataclass(frozen=True)
class Entry:
    """What one cache file holds.

    Args:
        tensors: by name; any shapes and types.
        names: the classes' names, or any other list of strings.
    """

    tensors: dict[str, Tensor]
    names: tuple[str, ...]

    def checksum(self, key: str) -> str:
        """A sha256 over key, names, shapes, types and contents."""
        layout = {name: [str(t.dtype), list(t.shape)] for name, t in sorted(self.tensors.items())}
        digest = hashlib.sha256(json.dumps([key, self.names, layout]).encode())
        for name in sorted(self.tensors):
            digest.update(self.tensors[name].contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def cached(key: str, build: Callable[[], Entry]) -> Entry:
    """Read an entry from the cache, or build it and keep it.

    Two processes may build the same entry at once: each writes a file of its own and renames it. Where the
    cache folder cannot be written, the entry is built each time and a warning says so once.

    Args:
        key: names the content completely (data set, parameters, source digest).
        build: makes the entry; called only when there is no sound file.

    Returns:
        The entry.
    """
    path = cache_dir() / f"{quote(key, safe='')}.{FORMAT}.safetensors"
    kept = _read(path, key)
    if kept is not None:
        return kept
    entry = build()
    metadata = {"key": key, "names": json.dumps(entry.names), "sha256": entry.checksum(key)}
    _write(path, safetensors.torch.save(entry.tensors, metadata))
    return entry


def cached_images(key: str, build: Callable[[], LabelledImages]) -> LabelledImages:
    """:func:`cached`, for labelled images.

    Args:
        key: as for :func:`cached`.
        build: makes the images.

    Returns:
        The images, read or built.
    """

    def entry() -> Entry:
        made = build()
        return Entry({"images": made.images.contiguous(), "counts": made.counts.contiguous()}, made.names)

    held = cached(key, entry)
    return LabelledImages(held.tensors["images"], held.tensors["counts"], held.names)


def noted(fact: str) -> bool:
    """Whether :func:`note` has recorded this fact in the cache folder."""
    return os.path.isfile(cache_dir() / f"{fact}.{FORMAT}.ok")


def note(fact: str) -> None:
    """Record a fact (such as "this archive's content has been checked") for later runs."""
    _write(cache_dir() / f"{fact}.{FORMAT}.ok", b"")


def _read(path: Path, key: str) -> Entry | None:
    if not os.path.exists(path):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: a mapped file that another program truncates would end the process.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        entry = Entry(tensors, tuple(json.loads(metadata["names"])))
        if metadata["key"] == key and metadata["sha256"] == entry.checksum(key):
            return entry
        reason = "its checksum does not match"
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error) or type(error).__name__
    log.warning("cache file %s is damaged (%s): building it again", path, reason)
    return None


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        _warn_unwritable(path.parent, error.strerror or str(error))


@functools.cache
def _warn_unwritable(folder: Path, reason: str) -> None:
    log.warning("going on without the cache: %s cannot be written (%s); METAFT_CACHE moves it", folder, reason)


def file_digest(*paths: Path) -> str:
    """A short digest of files' contents, for keys of data that a program makes.

    Args:
        paths: the files, order irrelevant.

    Returns:
        16 hexadecimal digits.

    Raises:
        MetaftError: if a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise MetaftError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()[:16]
