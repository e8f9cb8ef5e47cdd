"""Prompts alone, for answers that a model writes itself."""

from __future__ import annotations

from pathlib import Path

from metaft.data.dialogues.conversation import Prompt


def prompts(
    name: str | Path, split: str, root: str | Path | None = None, seed: int = 0, words: int = 8
) -> list[Prompt]:
    """Prompts of dialogues, of a .txt or .jsonl, or the first words of the texts of a data set."""
    raise NotImplementedError
