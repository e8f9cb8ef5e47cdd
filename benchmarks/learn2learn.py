"""Importing learn2learn: beside a CPU-only torch, and without Gym's farewell on standard error."""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import Any

from metaft.data.compat import torchvision_module


def learn2learn_module() -> Any:
    """The module ``learn2learn``; whatever stops its import is raised."""
    torchvision_module()
    with contextlib.redirect_stderr(io.StringIO()):
        return importlib.import_module("learn2learn")
