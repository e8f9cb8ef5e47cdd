"""Dialogues under the names of fields that people use, in JSON or in tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from metaft.data.dialogues import human_assistant, rows
from metaft.data.dialogues.conversation import Example, Instruction, Preference, Prompt, Role, Turn
from metaft.data.dialogues.found import Found
from metaft.errors import MetaftError, nearest

Fields = Mapping[str, object]
ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant",
}  # fmt: skip
"""What a speaker is called → the role."""
SPEAKERS = (("role", "content"), ("from", "value"))
"""The fields of a turn: who, and what."""
PAIRS = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("prompt", "completion"),
    ("prompt", "answer"),
    ("prompt", "response"),
)
"""A prompt and its answer."""
CONTEXTS = ("input", "context")
"""What an instruction is about; it may be absent or empty."""
DIALOGUES = ("messages", "conversations")
CHOSEN, REJECTED = "chosen", "rejected"
PROBABILITY, OFFENSIVE = "preference", "offensive"
"""That the chosen answer is the better one, from 0 to 1; and whether what a row says is not to be shown."""
EXPECTED = (
    "instruction (input) output; prompt with completion, answer or response; messages; conversations; "
    "prompt chosen rejected; or chosen and rejected, whole dialogues"
)


def read(path: Path) -> Found:
    """A file of the user's.

    Args:
        path: a file of `metaft.data.dialogues.rows`.

    Returns:
        Its examples, all instructions or all preferences.

    Raises:
        MetaftError: if a row is neither, or they are of both kinds, naming the line.
    """
    found: list[Example] = []
    for line, row in rows.read(path):
        found.append(example(row, f"{path}, line {line}"))
        if type(found[-1]) is not type(found[0]):
            kinds = [
                "an instruction" if isinstance(one, Instruction) else "a preference" for one in (found[-1], found[0])
            ]
            raise MetaftError(f"{path}, line {line}: {kinds[0]}, and the first row is {kinds[1]}; part the file")
    return Found(tuple(found))


def example(row: Fields, where: str) -> Example:
    """One row as an instruction or a preference.

    Args:
        row: its fields.
        where: it stands, for messages.

    Returns:
        The example.

    Raises:
        MetaftError: if fields are missing, or what they hold does not fit.
    """
    if CHOSEN in row or REJECTED in row:
        return _preference(row, where)
    if name := next((name for name in DIALOGUES if name in row), None):
        *prompt, last = _turns(row, name, where)
        if last.role != "assistant":
            raise MetaftError(
                f"{where}: the dialogue ends with the {last.role}'s turn; the last is the answer to learn"
            )
        return Instruction(_asked((*_before(row, where), *prompt), where), last.text)
    for asked, answer in PAIRS:
        if asked in row and answer in row:
            return Instruction(_asked(_prompt(row, asked, where), where), _answer(row, answer, where))
    raise _missing(row, where)


def prompt(row: Fields, where: str) -> Prompt:
    """The prompt of a row that may have nothing else.

    Args:
        row: its fields.
        where: it stands, for messages.

    Returns:
        The prompt.

    Raises:
        MetaftError: if there is none.
    """
    if CHOSEN in row or REJECTED in row or any(name in row for pair in PAIRS for name in pair[1:]):
        return example(row, where).prompt
    if name := next((name for name in DIALOGUES if name in row), None):
        said = _turns(row, name, where)
        said = said[:-1] if said[-1].role == "assistant" else said
        return _asked((*_before(row, where), *said), where)
    if name := next((name for name in ("prompt", "instruction") if name in row), None):
        return _asked(_prompt(row, name, where), where)
    raise MetaftError(f"{where}: no field 'prompt'; found: {_named(row)}; expected prompt alone, or {EXPECTED}")


def text(row: Fields, name: str, where: str, needed: bool = True) -> str:
    """A text out of a row.

    Args:
        row: its fields.
        name: of the field.
        where: it stands, for messages.
        needed: whether it has to be there; else one that is absent is empty.

    Returns:
        The text, without the space around it.

    Raises:
        MetaftError: if it is absent, no text, or empty.
    """
    if not needed and row.get(name) is None:
        return ""
    if name not in row:
        raise MetaftError(f"{where}: no {name!r}; found: {_named(row)}")
    found = row[name]
    if not isinstance(found, str):
        raise MetaftError(f"{where}: {name!r} is {_kind(found)}, not a text")
    if needed and not found.strip():
        raise MetaftError(f"{where}: {name!r} is empty; remove the row")
    return found.strip()


def joined(instruction: str, context: str) -> str:
    """An instruction and what it is about, behind an empty line."""
    return f"{instruction}\n\n{context}" if context else instruction


def _preference(row: Fields, where: str) -> Preference:
    if missing := next((name for name in (CHOSEN, REJECTED) if name not in row), None):
        raise MetaftError(f"{where}: no {missing!r} beside the other answer; found: {_named(row)}")
    named = next((name for name in ("prompt", "instruction", *DIALOGUES) if name in row), None)
    given: Prompt = ()
    if named is not None:
        given = (*_before(row, where), *_turns(row, named, where)) if named in DIALOGUES else _prompt(row, named, where)
    pairs = [_dialogue(row, name, given, where) for name in (CHOSEN, REJECTED)]
    (one, better), (other, worse) = pairs
    if one != other:
        raise MetaftError(
            f"{where}: 'chosen' and 'rejected' answer different prompts; they may differ in the last turn"
        )
    if better == worse:
        raise MetaftError(f"{where}: 'chosen' and 'rejected' are equal; remove the row")
    return Preference(_asked(one, where), better, worse, _probability(row, where))


def _probability(row: Fields, where: str) -> float | None:
    given = row.get(PROBABILITY)
    if given is None or given == "":
        return None
    try:
        found = math.nan if isinstance(given, bool) else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not 0 <= found <= 1:
        raise MetaftError(
            f"{where}: {PROBABILITY!r} is {str(given)[:20]}; expected the probability that the chosen answer is the "
            "better one, from 0 to 1, or no such field"
        )
    return found


def _dialogue(row: Fields, name: str, given: Prompt, where: str) -> tuple[Prompt, str]:
    """What is answered, and the answer: a text, a turn, or a whole dialogue."""
    said = row[name]
    if isinstance(said, str):
        if given:
            return given, text(row, name, where)
        if not human_assistant.is_dialogue(text(row, name, where)):
            raise MetaftError(
                f"{where}: no prompt; found: {_named(row)}; expected prompt chosen rejected, or whole dialogues, as "
                "messages or as one text 'Human: … Assistant: …'"
            )
        turns = human_assistant.turns(said, where)
        if not turns[-1].text:
            raise MetaftError(f"{where}: {name!r} is empty in its last turn; remove the row")
    else:
        turns = _turns({name: [said] if isinstance(said, dict) else said}, name, where)
    *before, last = turns
    if last.role != "assistant":
        raise MetaftError(f"{where}: {name!r} ends with the {last.role}'s turn; the last is to be the assistant's")
    whole = tuple(before)
    if not whole or whole == given:
        return given, last.text
    if given:
        raise MetaftError(f"{where}: {name!r} is a dialogue that does not begin with the row's prompt")
    return whole, last.text


def _prompt(row: Fields, name: str, where: str) -> Prompt:
    """A prompt, a text or turns, with what it is about and what was said before."""
    if isinstance(row[name], list):
        return (*_before(row, where), *_turns(row, name, where))
    own = text(row, name, where)
    if name == "instruction":
        own = joined(own, next((found for one in CONTEXTS if (found := text(row, one, where, needed=False))), ""))
    return (*_before(row, where), Turn("user", own))


def _answer(row: Fields, name: str, where: str) -> str:
    if not isinstance(row[name], list):
        return text(row, name, where)
    turns = _turns(row, name, where)
    if [turn.role for turn in turns] != ["assistant"]:
        raise MetaftError(f"{where}: {name!r} has {len(turns)} turns; expected one, the assistant's")
    return turns[0].text


def _before(row: Fields, where: str) -> Prompt:
    """What a row says of the system, and of earlier questions and answers."""
    system, history = text(row, "system", where, needed=False), row.get("history") or []
    if not isinstance(history, list) or not all(isinstance(two, list) and len(two) == 2 for two in history):
        raise MetaftError(f"{where}: 'history' is not a list of pairs [question, answer]")
    sides: tuple[Role, Role] = ("user", "assistant")
    said = [
        Turn(role, text({"history": one}, "history", where))
        for two in history
        for role, one in zip(sides, two, strict=True)
    ]
    return (*((Turn("system", system),) if system else ()), *said)


def _turns(row: Fields, name: str, where: str) -> Prompt:
    given = row[name]
    if not isinstance(given, list) or not given or not all(isinstance(turn, dict) for turn in given):
        raise MetaftError(
            f"{where}: {name!r} is {_kind(given)}, not a list of turns {{role, content}} or {{from, value}}"
        )
    found = []
    for number, turn in enumerate(given, start=1):
        whose = f"{where}, turn {number} of {name!r}"
        who, what = next((pair for pair in SPEAKERS if pair[0] in turn), SPEAKERS[0])
        role = text(turn, who, whose)
        if role not in ROLES:
            raise MetaftError(f"{whose}: unknown role {role[:20]!r}{nearest(role, ROLES)}")
        found.append(Turn(ROLES[role], text(turn, what, whose)))
    return tuple(found)


def _asked(prompt: Prompt, where: str) -> Prompt:
    if not prompt or prompt[-1].role != "user":
        ends = f"ends with the {prompt[-1].role}'s turn" if prompt else "is empty"
        raise MetaftError(f"{where}: the prompt {ends}; the user's is to stand before an answer")
    return prompt


def _missing(row: Fields, where: str) -> MetaftError:
    return MetaftError(f"{where}: found the fields {_named(row)}; expected {EXPECTED}")


def _named(row: Fields) -> str:
    names = [str(name)[:40] for name in row if name]
    return ", ".join(names[:20]) or "none"


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return {"NoneType": "null", "dict": "an object", "str": "a text"}.get(type(value).__name__, str(value)[:20])
