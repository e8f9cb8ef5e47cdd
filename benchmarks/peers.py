"""The peers in an environment of their own, ``.venv-peers``, with the same torch as metaft's."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from metaft.errors import MetaftError

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-peers"
CONSTRAINTS = (ROOT / "constraints.txt", ROOT / "benchmarks" / "peers.txt")
STAMP = VENV / "peers.json"
PEERS = ("learn2learn", "higher", "torchopt", "jax")
# What metaft itself needs there; torch comes first and alone, as its pinned CPU build, or pip would add CUDA to it.
OURS = ("torchvision", "numpy", "scipy", "click", "rich", "matplotlib", "safetensors", "pydantic", "tensorboard")


class Failed(Exception):
    """A command of the set-up did not succeed; the message is its last line."""


def python() -> Path:
    """The interpreter of the peers' environment."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def ready(say: Callable[[str], None] = print) -> dict[str, str]:
    """Make the environment unless it is there already.

    Args:
        say: told what is going on.

    Returns:
        Why a peer is missing, by name; empty when all are installed.

    Raises:
        MetaftError: if even torch or metaft cannot be installed there.
    """
    pins = hashlib.sha256(b"".join(path.read_bytes() for path in CONSTRAINTS)).hexdigest()
    if STAMP.exists():
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        if stamp["pins"] == pins:
            for peer in stamp["missing"]:
                say(f"{peer} was not installed last time; remove {VENV.name} to try again")
            return dict(stamp["missing"])
    say(f"setting up {VENV.name} (once, some minutes) ...")
    try:
        _run(sys.executable, "-m", "venv", "--clear", str(VENV))
        (VENV / ".gitignore").write_text("*\n")
        _install("torch")
        _install(*OURS)
        _install("setuptools")
        _run(str(python()), *_PIP, "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    except Failed as error:
        raise MetaftError(f"cannot make the peers' environment {VENV.name}: {error}") from error
    missing = {}
    for peer in PEERS:
        say(f"  {peer}")
        try:
            _learn2learn() if peer == "learn2learn" else _install(peer)
            _run(str(python()), "-c", _IMPORT.format(peer))
        except Failed as error:
            missing[peer] = str(error)
            say(f"  {peer} is left out: {error}")
    STAMP.write_text(json.dumps({"pins": pins, "missing": missing}, indent=1), encoding="utf-8")
    return missing


_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
_IMPORT = "from metaft.data.compat import torchvision_module; torchvision_module(); import {}"


def _install(*names: str) -> None:
    pins = [word for path in CONSTRAINTS for word in ("-c", str(path))]
    _run(str(python()), *_PIP, *pins, *names)


def _learn2learn() -> None:
    """Build it: the C code in its source distribution is Cython 0.29's, which Python ≥ 3.11 cannot compile."""
    _install("Cython", "gym", "requests", "tqdm")
    with tempfile.TemporaryDirectory() as folder:
        source = ("--no-deps", "--no-binary", ":all:", "--no-build-isolation", "-d", folder)
        pin = next(line for line in CONSTRAINTS[1].read_text().splitlines() if line.startswith("learn2learn=="))
        _run(str(python()), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *source, pin)
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        here = next(path for path in Path(folder).iterdir() if path.is_dir())
        _run(str(python()), "setup.py", "-q", "build_ext", "bdist_wheel", "-d", folder, cwd=here)
        _run(str(python()), *_PIP, "--no-deps", str(next(Path(folder).glob("*.whl"))))


def _run(*command: str, cwd: Path = ROOT) -> None:
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
