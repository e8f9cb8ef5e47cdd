"""A frozen base that checkpoints leave out: weights of a pretrained model, which are read from it again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metaft.errors import MetaftError, printable

if TYPE_CHECKING:
    from metaft.runs.checkpoint import Checkpoint

WEIGHTS = ("weights", "average", "best")
"""The parts of a checkpoint that hold the network."""


@dataclass(frozen=True)
class FrozenBase:
    """Weights of a pretrained model that training leaves as they are.

    Args:
        name: of the model, as it is asked for, such as ``hf:minilm``.
        names: of the weights, as the learner calls them.
        sha256: of them, see `digest`.
    """

    name: str
    names: tuple[str, ...]
    sha256: str


def digest(weights: Mapping[str, Tensor]) -> str:
    """The sha256 over names, types, shapes and bytes.

    Args:
        weights: by name, in any order.

    Returns:
        64 hexadecimal digits.
    """
    total = hashlib.sha256()
    for name, value in sorted(weights.items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        total.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def left_out(stored: Checkpoint, base: FrozenBase | None) -> Checkpoint:
    """A checkpoint without the base, if all its weights are still the base's.

    Args:
        stored: a whole one.
        base: what can be read again; None for nothing.

    Returns:
        The checkpoint, which says what it lacks; the one given if there is nothing to leave out.
    """
    parts = {part: values for part in WEIGHTS if (values := getattr(stored, part))}
    if base is None or any(not _holds(values, base) or len(values) == len(base.names) for values in parts.values()):
        return stored
    names = frozenset(base.names)
    kept = {part: {n: value for n, value in values.items() if n not in names} for part, values in parts.items()}
    return replace(stored, base=base, **kept)  # type: ignore[arg-type]


def filled(stored: Checkpoint, built: Mapping[str, Tensor]) -> Checkpoint:
    """A checkpoint with the base that it lacks.

    Args:
        stored: as it was read.
        built: the learner's weights as they are built again.

    Returns:
        The whole checkpoint.

    Raises:
        MetaftError: if what is built again is not the base that was left out.
    """
    base = stored.base
    if base is None:
        return stored
    if not _holds(built, base):
        run = "the run" if stored.path is None else stored.path.parents[1]
        raise MetaftError(
            f"{printable(run)} keeps no copy of its frozen base {printable(base.name)}, and that is no longer the one "
            f"it was trained on (sha256 {base.sha256[:12]}…): bring that model back as it was, or train anew with "
            "--overwrite"
        )
    # Each part has its own copy, as if it had been read: the weights of a run change in place.
    back = lambda: {name: built[name].detach().cpu().clone() for name in base.names}
    whole = {part: back() | values for part in WEIGHTS if (values := getattr(stored, part))}
    return replace(stored, base=None, **whole)


def _holds(weights: Mapping[str, Tensor], base: FrozenBase) -> bool:
    found = {name: weights[name] for name in base.names if name in weights}
    return len(found) == len(base.names) and digest(found) == base.sha256
