"""Parameters that are called something else now than in checkpoints of older versions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from torch import Tensor

from metaft.runs.checkpoint import Checkpoint

CONTEXT = "context"
"""CAVIA's vector, once a parameter of the whole network; its layer was wrapped in another."""


def as_named_now(stored: Checkpoint, expected: Collection[str]) -> Checkpoint:
    """A checkpoint with its parameters called as they are now.

    Args:
        stored: as it was written.
        expected: the names that the learner has.

    Returns:
        The same where it has those names.
    """
    if CONTEXT not in stored.weights or CONTEXT in expected:
        return stored
    wrapped = next((name for name in stored.weights if _last_two(name) in ("film.weight", "further.weight")), "")
    layer = wrapped.removesuffix("film.weight").removesuffix("further.weight")

    def now(name: str) -> str:
        for before, after in ((f"{layer}layer.", layer), (f"{layer}film.", f"{layer}{CONTEXT}."),
                              (f"{layer}further.", f"{layer}{CONTEXT}.")):  # fmt: skip
            if name.startswith(before):
                return after + name[len(before) :]
        return f"{layer}{CONTEXT}.vector" if name == CONTEXT else name

    def renamed(part: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {now(name): value for name, value in part.items()}

    kept = {tuple(entry.split("/", 1)): value for entry, value in stored.optimiser.items()}
    optimiser = {"/".join((what, now(name) if what != "random" else name)): v for (what, name), v in kept.items()}
    parts = {part: renamed(getattr(stored, part)) for part in ("weights", "average", "best")}
    return replace(stored, **parts, optimiser=optimiser)  # type: ignore[arg-type]


def _last_two(name: str) -> str:
    return ".".join(name.split(".")[-2:])
