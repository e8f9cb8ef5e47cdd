"""For mkdocstrings: a function of a package hides a submodule of the same name, as it does in Python."""

from __future__ import annotations

from typing import Any

import griffe


class FunctionsBeforeModules(griffe.Extension):
    """Puts `metaft.tasks.episodes` back, which griffe takes for the module that is called so."""

    def __init__(self) -> None:
        self.hidden: list[griffe.Function] = []

    def on_function_instance(self, *, func: griffe.Function, **kwargs: Any) -> None:
        """Remember the functions of packages."""
        if getattr(func.parent, "is_init_module", False):
            self.hidden.append(func)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Once all submodules are there, put the functions back."""
        for func in self.hidden:
            func.parent.set_member(func.name, func)  # type: ignore[union-attr]
