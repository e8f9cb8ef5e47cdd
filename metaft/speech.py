"""Messages name what can be given as the command line does; from Python they are told as Python does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_on_command_line: ContextVar[bool] = ContextVar("on_command_line", default=False)

_COMMAND = r"(?P<command>(?:\bmetaft [a-z]|\bpip\b|\btorchrun\b)[^;,()]*)"
"""A command that is shown stays one."""
_VALUE = r"(?: (?P<value>\d[\w.-]*\w|\d|[A-Z][A-Z_]+\b|all\b|[\w.~-]*[:/][\w.:=/~+-]*\w))?"
_SPOKEN = re.compile(rf"{_COMMAND}|(?<![\w-])--(?P<no>no-)?(?P<name>[a-z][a-z0-9-]*){_VALUE}")

SWITCHES = ("resume", "overwrite", "dry_run", "quiet", "paired_seeds")
"""What is given without a value on the command line, and as True in Python."""
OTHERWISE = {"data_root": "root", "test_tasks": "tasks", "test_steps": "steps"}
"""Names that differ."""


@contextmanager
def command_line() -> Iterator[None]:
    """While this is open, messages speak of flags."""
    token = _on_command_line.set(True)
    try:
        yield
    finally:
        _on_command_line.reset(token)


def spoken(message: str) -> str:
    """A message as whoever asked speaks.

    Args:
        message: with flags, such as ``ask for --ways 3``.

    Returns:
        The same on the command line; ``ask for ways=3`` elsewhere. Commands in it (``metaft … --ways 3``) stay.
    """
    return message if _on_command_line.get() else _SPOKEN.sub(_in_python, message)


def _in_python(found: re.Match[str]) -> str:
    if found["command"] is not None:
        return found[0]
    name, value = found["name"].replace("-", "_"), found["value"]
    name = OTHERWISE.get(name, name)
    if found["no"]:
        return f"{name}=False" + (f" {value}" if value else "")
    if name in SWITCHES:
        return f"{name}=True" + (f" {value}" if value else "")
    if value is None:
        return name
    return f"{name}={value if value[0].isdigit() or value.isupper() else repr(value)}"
