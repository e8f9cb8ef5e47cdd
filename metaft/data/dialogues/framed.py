"""Instructions inside Alpaca's frame (Taori et al. 2023), which is taken off: a model brings a template of its own."""

from __future__ import annotations

import re
from pathlib import Path

from metaft.data.dialogues.conversation import Instruction, Turn
from metaft.data.dialogues.found import Found
from metaft.data.texts import reading
from metaft.errors import MetaftError

END = "###eos_token###"
_FRAME = re.compile(
    r"Below is an instruction[^\n]*\n+### Instruction:\n(.+?)(?:\n+### Input:\n(.+?))?\n+### Response:\s*", re.DOTALL
)


def unframed(text: str, where: str) -> str:
    """What stands in the frame.

    Args:
        text: with it.
        where: it stands, for messages.

    Returns:
        The instruction, and its input behind an empty line.

    Raises:
        MetaftError: if it has no such frame.
    """
    found = _FRAME.fullmatch(text)
    if found is None:
        raise MetaftError(f"{where}: 'prompt' has not the frame '### Instruction: … ### Response:'; fetch it again")
    return "\n\n".join(part.strip() for part in found.groups() if part and part.strip())


def read(path: Path) -> Found:
    """A file of JSON lines whose prompts are framed and whose answers end with ``###eos_token###``.

    Args:
        path: of the file.

    Returns:
        The instructions.

    Raises:
        MetaftError: if a line has another form.
    """
    found = []
    for number, row in reading.json_lines(path):
        prompt, answer = (reading.text_in(row, name, path, number) for name in ("prompt", "answer"))
        where = f"{path}, line {number}"
        own = answer.removesuffix(END).strip()
        if not own:
            raise MetaftError(f"{where}: 'answer' is empty; remove the line")
        found.append(Instruction((Turn("user", unframed(prompt, where)),), own))
    return Found(tuple(found))
