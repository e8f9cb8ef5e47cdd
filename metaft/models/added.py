"""Parameters beside a layer's own, as a child of that layer (see ``metaft.additions``)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Added(nn.Module):
    """The parameters of an addition beside one layer; it is that layer's child and never runs by itself.

    Args:
        addition: whose they are.
        own: by name.
    """

    def __init__(self, addition: Any, own: dict[str, Tensor]) -> None:
        super().__init__()
        self.addition = addition
        for name, value in own.items():
            self.register_parameter(name, nn.Parameter(value))

    def own(self) -> dict[str, Tensor]:
        """The parameters as they are now: those that a functional call has put in place."""
        return {name: getattr(self, name) for name in self._parameters}
