"""Where a number was measured: versions, machine, commit, time."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metaft.processors import cores


def environment() -> dict[str, Any]:
    """Versions, machine and time, as plain JSON values without any path or host name.

    Returns:
        ``versions`` (metaft, python, torch, numpy), ``commit`` of the checkout (ending in ``-dirty`` when tracked files
        other than results are changed; ``None`` outside a checkout), ``machine`` (cpu, cores that this process may
        use, threads of torch, accelerator or ``None``, system) and ``date`` (UTC, ISO 8601, to the second).
    """
    return {
        "versions": {
            "metaft": _metaft_version(),
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "commit": _commit(),
        "machine": {
            "cpu": _cpu(),
            "cores": cores(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "system": f"{platform.system()} {platform.machine()}",
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def program() -> str:
    """How to call metaft from the working directory: by name where PATH has it, else by the place it lies in."""
    if shutil.which("metaft"):
        return "metaft"
    beside = Path(sys.executable).with_name("metaft")
    if not beside.exists():
        return f"{shlex.quote(sys.executable)} -m metaft"
    here = os.path.relpath(beside)
    return shlex.quote(str(beside) if here.startswith("..") else os.path.join(".", here))


def _metaft_version() -> str:
    try:
        return metadata.version("metaft")
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    ask: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 10}
    try:
        found = subprocess.run([*git, "describe", "--always", "--abbrev=12", "--exclude=*"], check=True, **ask)
        # What earlier numbers wrote changes nothing about the next ones.
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ".", ":(exclude)results"], check=False, **ask)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() + ("-dirty" if changed.returncode else "")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
