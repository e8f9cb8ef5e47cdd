"""Dialogues written as one text, ``\\n\\nHuman: … \\n\\nAssistant: …``, as Anthropic's hh-rlhf (Bai et al. 2022)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from metaft.data.dialogues.conversation import Preference, Role, Turn
from metaft.data.dialogues.found import Found
from metaft.data.texts import reading
from metaft.errors import MetaftError

ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_MARK = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


def is_dialogue(text: str) -> bool:
    """Whether a text is such a dialogue."""
    return _MARK.match(text.lstrip("\n")) is not None


def turns(text: str, where: str) -> tuple[Turn, ...]:
    """The turns of a dialogue; the last may be empty.

    Args:
        text: begins with ``Human:``, empty lines before it or not.
        where: it stands, for messages.

    Returns:
        Its turns, without the space around their texts.

    Raises:
        MetaftError: if it does not begin so, or a turn but the last is empty.
    """
    before, *parts = _MARK.split(text.strip())
    if before.strip() or not parts:
        raise MetaftError(f"{where}: a dialogue in one text begins with 'Human:', and this one does not")
    found = tuple(Turn(ROLES[who], said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True))
    if not all(turn.text for turn in found[:-1]):
        raise MetaftError(f"{where}: a turn of the dialogue is empty")
    return found


def read(path: Path) -> Found:
    """The published file: a pair that differs before its last answer, or has an empty one, is left out and counted.

    Args:
        path: JSON lines with ``chosen`` and ``rejected``, packed or not.

    Returns:
        The pairs.

    Raises:
        MetaftError: if a line has another form.
    """
    found, left_out = list[Preference](), Counter[str]()
    for number, row in reading.json_lines(path):
        where = f"{path}, line {number}"
        one, other = (turns(reading.text_in(row, name, path, number), where) for name in ("chosen", "rejected"))
        if one[:-1] != other[:-1] or {one[-1].role, other[-1].role} != {"assistant"}:
            left_out["differ before the last answer"] += 1
        elif not one[-1].text or not other[-1].text:
            left_out["have an empty answer"] += 1
        elif one == other:
            left_out["have two equal answers"] += 1
        else:
            found.append(Preference(one[:-1], one[-1].text, other[-1].text))
    return Found(tuple(found), dict(left_out))
