"""LoRA: a product of two thin matrices beside a weight (Hu et al. 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

import torch
from torch import Tensor, nn

from metaft.additions.addition import Addition, Params
from metaft.errors import MetaftError, nearest
from metaft.models.anatomy import COMPOSITE, anatomy
from metaft.validate import require_count, require_positive

ATTENTION = ("query", "value", "q_proj", "v_proj", "q_lin", "v_lin")
"""What the layers are called that the paper puts it on, here and in models of others."""


@dataclass(frozen=True)
class LoRA(Addition):
    """Linear(x) = W x + c + α/r · B A x, where A ``[r, inputs]`` is drawn and B ``[outputs, r]`` begins at 0.

    Hu et al. 2022, "LoRA: low-rank adaptation of large language models", §4.1, eq. 3. It is computed on activations, as
    W + B A of each task would be a dense matrix a task.

    Args:
        rank: r, how many columns B has.
        alpha: α, the strength; r if None.
        layers: which Linear layers, by name patterns joined by commas, such as ``*.query,*.output``; by default the
            queries and values of attention, or all but the head in a network without.

    Raises:
        MetaftError: if the rank is below 1, or alpha not positive.
    """

    rank: int = 8
    alpha: float | None = None
    layers: str | None = None
    name: ClassVar[str] = "lora"

    def __post_init__(self) -> None:
        require_count(self.rank, "the rank of lora", 1)
        if self.alpha is not None:
            require_positive(self.alpha, "alpha")

    def sites(self, model: nn.Module) -> tuple[str, ...]:
        """The layers named, or those of the default.

        Raises:
            MetaftError: if a pattern matches no Linear layer, or there is none.
        """
        modules = dict(model.named_modules())
        inside = tuple(f"{name}." for name, layer in modules.items() if isinstance(layer, COMPOSITE))
        linear = [n for n, layer in modules.items() if isinstance(layer, nn.Linear) and not n.startswith(inside)]
        if self.layers is not None:
            patterns = [pattern.strip() for pattern in self.layers.split(",")]
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in linear):
                    raise MetaftError(f"lora: layers {pattern!r} matches no Linear layer{nearest(pattern, linear)}")
            return tuple(name for name in linear if any(fnmatchcase(name, pattern) for pattern in patterns))
        head = anatomy(model).head
        found = [name for name in linear if name.rpartition(".")[2] in ATTENTION]
        found = found or [name for name in linear if name != head] or linear
        if not found:
            raise MetaftError(f"{type(model).__name__} has no Linear layer to put lora beside")
        return tuple(found)

    def create(self, layer: nn.Module, draw: torch.Generator) -> Params:
        """A as torch draws a Linear layer's weight, B = 0."""
        assert isinstance(layer, nn.Linear)
        down = torch.empty(self.rank, layer.in_features)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=draw)
        return {"A": down, "B": torch.zeros(layer.out_features, self.rank)}

    def after(self, own: Params, x: Tensor, y: Tensor) -> Tensor:
        """W x + c + α/r · B A x."""
        return y + self._strength * (x @ own["A"].T) @ own["B"].T

    def merged(self, own: Params, weight: Tensor) -> Tensor:
        """W + α/r · B A."""
        return weight + self._strength * own["B"] @ own["A"]

    @property
    def _strength(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.rank
