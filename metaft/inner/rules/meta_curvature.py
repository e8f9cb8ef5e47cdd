"""Meta-Curvature: learned matrices that the inner gradient is multiplied by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metaft.inner.rules.rule import LEARNED, Params, Plain, State
from metaft.validate import require_positive

MODES = ("out", "in", "filter")


@dataclass(frozen=True)
class MetaCurvature(Plain):
    """θ ← θ − α M ∇L(θ), M learned as a product of small matrices (Park & Oliva 2019, eq. 6: MC).

    A gradient G ``[outputs, inputs, filter]`` becomes G ×₁ M_out ×₂ M_in ×₃ M_filter, filter being all positions of a
    convolution together; M_filter is absent from a Linear's. They start as identities, so that the method starts as
    plain gradient descent. A vector (a bias, a scale) has a learned factor a number.

    Args:
        lr: the inner rate α, which stays.

    Raises:
        MetaftError: if it is not a positive finite number.
    """

    lr: float
    uses_gradient: ClassVar[bool] = True
    counts_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive(self.lr, "the inner rate")

    def learned(self, params: Params) -> Params:
        """``rule:out:NAME``, ``rule:in:NAME`` and ``rule:filter:NAME``, square; a vector's ``rule:out:NAME`` is one."""
        found = {}
        for name, value in params.items():
            if value.dim() < 2:
                found[f"{LEARNED}out:{name}"] = torch.ones_like(value)
                continue
            for mode, width in zip(MODES, _folded(value).shape, strict=False):
                found[f"{LEARNED}{mode}:{name}"] = torch.eye(width, dtype=value.dtype, device=value.device)
        return found

    def step(self, k: int, params: Params, state: State, grads: Params, learned: Params) -> tuple[Params, State]:
        """θ − α M g, name by name."""
        return {name: p - self.lr * _transformed(name, grads[name], learned) for name, p in params.items()}, state


def _folded(value: Tensor) -> Tensor:
    """``[outputs, inputs]``, or ``[outputs, inputs, filter]`` for a convolution."""
    return value.flatten(2) if value.dim() > 2 else value


def _transformed(name: str, gradient: Tensor, learned: Params) -> Tensor:
    if gradient.dim() < 2:
        return gradient * learned[f"{LEARNED}out:{name}"]
    found = _folded(gradient)
    for axis, mode in zip(range(found.dim()), MODES, strict=False):
        # Along that axis: g'_{… i …} = Σ_j M_ij g_{… j …} (Park & Oliva 2019, eq. 3).
        found = (found.transpose(axis, -1) @ learned[f"{LEARNED}{mode}:{name}"].T).transpose(axis, -1)
    return found.reshape(gradient.shape)
