"""Installing pinned packages into an environment."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = (ROOT / "constraints.txt", ROOT / "benchmarks" / "peers" / "pins.txt")


class Failed(Exception):
    """A command of a set-up did not succeed; the message is its last line."""


def install(python: Path, *names: str) -> None:
    """Install packages in the pinned versions.

    Args:
        python: the environment's interpreter.
        names: of the packages, or further arguments of ``pip install``.

    Raises:
        Failed: with the reason in one line.
    """
    pins = [word for path in CONSTRAINTS for word in ("-c", str(path))]
    run(str(python), *PIP, "install", *QUIET, *pins, *names)


PIP = ("-m", "pip")
QUIET = ("--quiet", "--disable-pip-version-check")


def run(*command: str, cwd: Path = ROOT) -> None:
    """Run a command to its end.

    Args:
        command: the program and its arguments.
        cwd: the folder it runs in.

    Raises:
        Failed: if its exit status is not 0.
    """
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise Failed(last_line(done.stderr or done.stdout, command))


def last_line(output: str, command: Sequence[str] = ()) -> str:
    """The line that says what went wrong: the last that is not pip's advice.

    Args:
        output: what a command wrote.
        command: the command, named if it wrote nothing.

    Returns:
        One line.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("[notice]")]
    return lines[-1] if lines else f"{' '.join(command[:4])} failed without a word"
