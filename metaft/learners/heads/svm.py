"""Linear support vector machine, one class against the rest, all tasks and classes at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from metaft.learners.heads.head import Fitted, linear, require_labels, span, targets, unspan
from metaft.learners.heads.newton import minimise
from metaft.learners.heads.per_task import per_task
from metaft.learners.heads.positive import require_positive


@dataclass(frozen=True)
class SVM:
    """A squared-hinge machine a class, against the rest: ``λ/2 ‖(w, b)‖² + Σᵢ max(0, 1 − yᵢ (w·xᵢ + b))²``.

    That is LIBLINEAR's default, as in scikit-learn's LinearSVC with C = 1/λ; the bias is penalised too. The
    objective is piecewise quadratic, and a finite number of Newton steps ends at its minimum (Keerthi & DeCoste
    2005, "A modified finite Newton method for fast solution of large scale linear SVMs").

    Args:
        regularisation: λ > 0.
        solver: "batched" or "scikit-learn" (task after task).
    """

    regularisation: float = 1.0
    solver: str = "batched"
    solvers: ClassVar[tuple[str, ...]] = ("batched", "scikit-learn")

    def __post_init__(self) -> None:
        require_positive(regularisation=self.regularisation)

    def fit(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        """Fit a head to each task (see ``Head``)."""
        require_labels(y, "head 'svm'")
        if self.solver == "scikit-learn":
            return self._scikit_learn(x, y, outputs)
        rows, present = targets(y, outputs)
        given, side = (t.mT.unsqueeze(-1) for t in (rows.sum(-1, keepdim=True), 2 * rows - 1))
        x = x.double()
        z, basis = span(torch.cat([x, torch.ones_like(x[..., :1])], dim=-1))
        z = z.unsqueeze(1)  # [tasks, 1, support, width] for weights [tasks, ways, width, 1]: each way has its own steps
        misses = lambda weight: (1 - side * (z @ weight)).clamp(min=0) * given

        def value(weight: Tensor) -> Tensor:
            penalty = self.regularisation / 2 * weight.square().sum((-2, -1))
            return penalty + misses(weight).square().sum((-2, -1))

        def derivatives(weight: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            miss = misses(weight)
            slope = self.regularisation * weight - 2 * z.mT @ (side * miss)
            return slope, lambda right: self._newton(z, miss > 0, right)

        found = minimise(value, derivatives, z.new_zeros(len(z), outputs, z.shape[-1], 1))
        found = unspan(found.squeeze(-1).mT, basis)
        return linear(found[..., :-1, :], found[..., -1, :], present)

    def _newton(self, z: Tensor, active: Tensor, right: Tensor) -> Tensor:
        hessian = 2 * z.mT @ (active * z)
        diagonal = hessian.diagonal(dim1=-2, dim2=-1)
        # The second term is far below rounding; it keeps the system solvable where the penalty is lost in it.
        diagonal += self.regularisation + 1e-13 * diagonal.amax(-1, keepdim=True)
        return torch.linalg.solve(hessian, right)

    def _scikit_learn(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        from sklearn import svm

        make = lambda: svm.LinearSVC(C=1 / self.regularisation, tol=1e-8, max_iter=1_000_000, random_state=0)
        return per_task(make, x, y, outputs)

    def describe(self) -> dict[str, Any]:
        """Its settings, flat."""
        return {"regularisation": self.regularisation, "solver": self.solver}
