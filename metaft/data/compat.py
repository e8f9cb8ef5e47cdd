"""Importing torchvision, and learn2learn, which needs it, beside a CPU-only torch."""

from __future__ import annotations

import contextlib
import importlib
import io
from types import ModuleType

import torch

from metaft.errors import MetaftError

# torchvision registers shape functions for these two operators unconditionally; where its compiled extension
# cannot be loaded (a CUDA wheel beside a CPU-only torch) nobody has defined them, and the import stops.
SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# A library's definitions live as long as the object.
_LIBRARIES: list[torch.library.Library] = []


def torchvision_module(name: str = "torchvision") -> ModuleType:
    """Import torchvision or a module of it, whether or not its compiled extension fits this torch.

    Where the plain import works, nothing else is done. Calling an operator that only the extension has still
    fails; data sets, transforms and models do not need one.

    Args:
        name: dotted name, such as ``"torchvision.datasets.utils"``.

    Returns:
        The module.
    """
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    library = torch.library.Library("torchvision", "FRAGMENT")
    _LIBRARIES.append(library)
    for operator, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, operator):
            library.define(schema)
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
