"""Tasks with instances, as self-instruct's (Wang et al. 2023): each instance is one instruction."""

from __future__ import annotations

from pathlib import Path

from metaft.data.dialogues import fields
from metaft.data.dialogues.conversation import Instruction, Turn
from metaft.data.dialogues.found import Found
from metaft.data.texts import reading
from metaft.errors import MetaftError


def read(path: Path) -> Found:
    """A file of JSON lines, ``instruction`` and ``instances`` with ``input`` and ``output``.

    Args:
        path: of the file.

    Returns:
        The instructions.

    Raises:
        MetaftError: if a line has another form.
    """
    found = []
    for number, row in reading.json_lines(path):
        asked = reading.text_in(row, "instruction", path, number)
        instances, where = row.get("instances"), f"{path}, line {number}"
        if not isinstance(instances, list) or not instances or not all(isinstance(one, dict) for one in instances):
            raise MetaftError(f"{where}: 'instances' is no list of objects with 'input' and 'output'")
        for one in instances:
            prompt = fields.joined(asked, fields.text(one, "input", where, needed=False))
            found.append(Instruction((Turn("user", prompt),), fields.text(one, "output", where)))
    return Found(tuple(found))
