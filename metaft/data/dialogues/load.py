"""Dialogues by name or path, divided by prompt."""

from __future__ import annotations

from pathlib import Path

from metaft.data.dialogues.conversation import Instruction, Preference, Prompt


def load(
    name: str | Path, split: str, root: str | Path | None = None, seed: int = 0
) -> list[Instruction] | list[Preference]:
    """Load one split ("train", "val", "test" or "all"); ``name`` may join several by "+" or be a path."""
    raise NotImplementedError


def instructions(name: str | Path, split: str, root: str | Path | None = None, seed: int = 0) -> list[Instruction]:
    """As `load`, of instructions; preferences are refused."""
    raise NotImplementedError


def preferences(name: str | Path, split: str, root: str | Path | None = None, seed: int = 0) -> list[Preference]:
    """As `load`, of preferences; instructions are refused."""
    raise NotImplementedError


def described(name: str | Path, root: str | Path | None = None, seed: int = 0) -> dict[str, object]:
    """What a run writes down: names, kind, seed, examples and prompts a split, what was left out, a digest a split."""
    raise NotImplementedError
