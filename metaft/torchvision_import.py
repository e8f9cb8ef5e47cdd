"""``import torchvision`` beside a torch that its compiled part was not made for, such as one for the CPU alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# torchvision registers shape functions for these two operators unconditionally; where its compiled extension cannot
# be loaded (a CUDA wheel beside a CPU-only torch) nobody has defined them, and the import stops.
SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
FIRST_NEED = "torchvision._meta_registrations"
"""The module that needs them; by then the compiled extension has been loaded, or could not be."""

_libraries: list[Any] = []
"""A library's definitions live as long as the object."""


class SchemasFirst:
    """A finder of modules that finds none: it defines what is missing just before it is needed."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Leave every module to the other finders."""
        if name == FIRST_NEED:
            define_missing()
        return None


def define_missing() -> None:
    """Define the operators that nobody has; those of a torchvision that fits are left alone.

    Calling one still fails, and says so; data sets, transforms and models do not need any.
    """
    import torch

    missing = [schema for name, schema in SCHEMAS.items() if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        _libraries.append(library)
        for schema in missing:
            library.define(schema)


def install() -> None:
    """Let ``import torchvision`` work from now on, in this process; nothing is imported for it."""
    if SchemasFirst not in sys.meta_path:
        sys.meta_path.insert(0, SchemasFirst)
