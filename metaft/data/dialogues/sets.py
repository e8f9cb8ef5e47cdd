"""The dialogues that are known by name: where they lie, who reads them, under which licence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metaft.data.dialogues import fields, framed, human_assistant, instances
from metaft.data.dialogues.found import Found
from metaft.data.texts import reading

Kind = Literal["instructions", "preferences"]


@dataclass(frozen=True)
class DialogueSet:
    """One set of dialogues.

    Args:
        name: as it is asked for.
        kind: what it holds.
        description: one line.
        counts: how much there is, in words.
        licence: and whose.
        file: its place below a data root.
        read: reads it.
        offensive: whether what it says is not to be shown.
    """

    name: str
    kind: Kind
    description: str
    counts: str
    licence: str
    file: str
    read: Callable[[Path], Found]
    offensive: bool = False

    def where(self, root: str | Path | None) -> str | None:
        """The file, in words; None where it is not found."""
        base = reading.place(self.name, (self.file,), root)
        return None if base is None else str(base / self.file)

    def path(self, root: str | Path | None) -> Path:
        """The file.

        Raises:
            MetaftError: if no data root holds it.
        """
        return reading.require_place(f"set of {self.kind} {self.name}", (self.file,), root) / self.file


SETS = {
    one.name: one
    for one in (
        DialogueSet(
            name="alpaca-demo",
            kind="instructions",
            description="instructions answered by GPT-4 (Alpaca-GPT4, Peng et al. 2023; the part LLaMA-Factory ships)",
            counts="999 instructions, 14 of them repeats",
            licence="CC BY-NC 4.0 (at second hand)",
            file="instructions/alpaca_en_demo.json",
            read=fields.read,
        ),
        DialogueSet(
            name="dolly-sample",
            kind="instructions",
            description="instructions written and answered by people (a part of Dolly 15k, Databricks 2023)",
            counts="151 instructions",
            licence="CC BY-SA 3.0 (Databricks)",
            file="instructions/dolly_sample.jsonl",
            read=framed.read,
        ),
        DialogueSet(
            name="self-instruct",
            kind="instructions",
            description="the seed tasks of self-instruct, written by people (Wang et al. 2023)",
            counts="175 instructions",
            licence="Apache-2.0 (Yizhong Wang)",
            file="instructions/seed_tasks.jsonl",
            read=instances.read,
        ),
        DialogueSet(
            name="user-oriented",
            kind="instructions",
            description="tasks as users of programs have them, written by people (Wang et al. 2023, §4.4)",
            counts="252 instructions",
            licence="Apache-2.0 (Yizhong Wang)",
            file="instructions/user_oriented_instructions.jsonl",
            read=instances.read,
        ),
        DialogueSet(
            name="hh-harmless",
            kind="preferences",
            description="answers that people find less harmful (hh-rlhf, Bai et al. 2022); offensive, never to imitate",
            counts="2,312 pairs, 9 of them left out",
            licence="MIT (Anthropic)",
            file="preferences/hh_harmless_test.jsonl.gz",
            read=human_assistant.read,
            offensive=True,
        ),
        DialogueSet(
            name="dpo-demo",
            kind="preferences",
            description="dialogues with a better and a worse answer (DPO-En-Zh-20k, the part LLaMA-Factory ships)",
            counts="300 pairs, 5 of them repeats",
            licence="Apache-2.0 (LLaMA-Factory)",
            file="preferences/dpo_en_demo.json",
            read=fields.read,
        ),
    )
}
