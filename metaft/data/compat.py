"""Importing torchvision, and learn2learn, which needs it, beside a CPU-only torch."""

from __future__ import annotations

import contextlib
import importlib
import io
from types import ModuleType

from metaft.errors import MetaftError


def torchvision_module(name: str = "torchvision") -> ModuleType:
    """Import torchvision or a module of it, whether or not its compiled extension fits this torch.

    What that takes is done by `metaft.torchvision_import` for every import of torchvision in this process.

    Args:
        name: dotted name, such as ``"torchvision.datasets.utils"``.

    Returns:
        The module.
    """
    return importlib.import_module(name)


def learn2learn_module() -> ModuleType:
    """Import learn2learn, an optional extra, without Gym's farewell on standard error.

    Returns:
        The module.

    Raises:
        MetaftError: if it is not installed.
    """
    torchvision_module()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return importlib.import_module("learn2learn")
    except ImportError as error:
        raise MetaftError(f"learn2learn cannot be imported ({error}); 'make learn2learn' builds it here") from error
