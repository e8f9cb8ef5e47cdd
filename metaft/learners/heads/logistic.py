"""Logistic regression, all tasks at once by Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from metaft.learners.heads.head import Fitted, linear, require_labels, span, targets, unspan
from metaft.learners.heads.newton import conjugate_gradients, minimise
from metaft.learners.heads.per_task import per_task
from metaft.learners.heads.positive import require_positive


@dataclass(frozen=True)
class Logistic:
    """Multinomial logistic regression with an L2 penalty: ``Σᵢ −log pᵢ(yᵢ) + λ/2 ‖W‖²``, the bias is free.

    λ = 1/C of scikit-learn's LogisticRegression, which for two classes penalises the difference of their weights;
    so does this.

    Args:
        regularisation: λ > 0.
        solver: "batched" (Newton's method, to a gradient below `TOLERANCE`, in float64) or "scikit-learn".
    """

    regularisation: float = 1.0
    solver: str = "batched"
    solvers: ClassVar[tuple[str, ...]] = ("batched", "scikit-learn")

    def __post_init__(self) -> None:
        require_positive(regularisation=self.regularisation)

    def fit(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        """Fit a head to each task (see ``Head``)."""
        require_labels(y, "head 'logistic'")
        if self.solver == "scikit-learn":
            return self._scikit_learn(x, y, outputs)
        aims, present = targets(y, outputs)
        z, basis = span(x.double())
        z = torch.cat([z, torch.ones_like(z[..., :1])], dim=-1)
        given = aims.sum(-1, keepdim=True)
        absent = torch.zeros_like(present, dtype=z.dtype).masked_fill(~present, -torch.inf).unsqueeze(-2)
        # ‖w₁ − w₀‖² = 2 (‖w₀‖² + ‖w₁‖²) where w₀ = −w₁: two classes are penalised twice as much.
        strength = self.regularisation * (1 + (present.sum(-1) == 2).to(z.dtype))[:, None, None]
        penalty = strength * (torch.arange(z.shape[-1], device=z.device) < z.shape[-1] - 1).to(z.dtype)[:, None]

        def value(weight: Tensor) -> Tensor:
            fit = (z @ weight + absent).log_softmax(-1).masked_fill(absent == -torch.inf, 0)
            return -(fit * aims).sum((-2, -1)) + (penalty * weight.square()).sum((-2, -1)) / 2

        def derivatives(weight: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            chance = (z @ weight + absent).softmax(-1) * given

            def curvature(direction: Tensor) -> Tensor:
                change = z @ direction
                change = chance * (change - (chance * change).sum(-1, keepdim=True))
                return z.mT @ change + penalty * direction

            return z.mT @ (chance - aims) + penalty * weight, partial(conjugate_gradients, curvature)

        weight = minimise(value, derivatives, z.new_zeros(*z.shape[:-2], z.shape[-1], outputs))
        return linear(unspan(weight[..., :-1, :], basis), weight[..., -1, :], present)

    def _scikit_learn(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        from sklearn import linear_model

        make = lambda: linear_model.LogisticRegression(C=1 / self.regularisation, tol=1e-8, max_iter=10_000)
        return per_task(make, x, y, outputs)

    def describe(self) -> dict[str, Any]:
        """Its settings, flat."""
        return {"regularisation": self.regularisation, "solver": self.solver}
