"""Pieces whose parameters begin at given values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import nn

from metaft.additions.addition import Params


@dataclass(frozen=True)
class Started:
    """A mixture for a piece whose parameters begin at given values.

    Args:
        start: the values.
    """

    start: Params = field(default_factory=dict, repr=False, compare=False, kw_only=True)

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """Those values."""
        return {name: value.clone() for name, value in self.start.items()}

    def settled(self) -> Self:
        """Without them, once they are parameters."""
        return replace(self, start={})
