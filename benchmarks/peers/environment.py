"""The peers in an environment of their own, ``.venv-peers``, with the same torch as metaft's."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import learn2learn_wheel
from benchmarks.peers import pip
from metaft.errors import MetaftError

VENV = pip.ROOT / ".venv-peers"
STAMP = VENV / "peers.json"
PEERS = ("learn2learn", "higher", "torchopt", "jax", "transformers", "peft")
# What metaft itself needs there; torch comes first and alone, as its pinned CPU build, or pip would add CUDA to it.
OURS = ("torchvision", "numpy", "scipy", "click", "rich", "matplotlib", "safetensors", "pydantic", "tensorboard")


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
    named = " ".join((*PEERS, *OURS)).encode()
    pins = hashlib.sha256(b"".join([named, *(path.read_bytes() for path in pip.CONSTRAINTS)])).hexdigest()
    if STAMP.exists():
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        if stamp["pins"] == pins:
            for peer in stamp["missing"]:
                say(f"{peer} was not installed last time; remove {VENV.name} to try again")
            return dict(stamp["missing"])
    say(f"setting up {VENV.name} (once, some minutes) ...")
    try:
        pip.run(sys.executable, "-m", "venv", "--clear", str(VENV))
        (VENV / ".gitignore").write_text("*\n")
        pip.install(python(), "torch")
        pip.install(python(), *OURS)
        pip.install(python(), "setuptools")
        pip.install(python(), "--no-deps", "--no-build-isolation", "-e", str(pip.ROOT))
    except pip.Failed as error:
        raise MetaftError(f"cannot make the peers' environment {VENV.name}: {error}") from error
    missing = {}
    for peer in PEERS:
        say(f"  {peer}")
        try:
            if peer == "learn2learn":
                learn2learn_wheel.install(python())
            else:
                pip.install(python(), peer)
                pip.run(str(python()), "-c", f"import metaft, {peer}")  # which mends torchvision beside CPU torch
        except pip.Failed as error:
            missing[peer] = str(error)
            say(f"  {peer} is left out: {error}")
    STAMP.write_text(json.dumps({"pins": pins, "missing": missing}, indent=1), encoding="utf-8")
    return missing
