"""Linear support vector machine, one class against the rest, all tasks and classes at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metaft.learners.heads.head import Fitted, linear, require_labels, targets
from metaft.learners.heads.newton import minimise
from metaft.learners.heads.penalised import Penalised
from metaft.learners.heads.per_task import per_task
from metaft.learners.heads.principal import principal

LOST = 1e-8
"""A penalty so far below the data's curvature, which is at most 2, would be felt in the solution's last digits."""


@dataclass(frozen=True)
class SVM(Penalised):
    """A squared-hinge machine a class, against the rest: ``λ/2 ‖(w, b)‖² + Σᵢ max(0, 1 − yᵢ (w·xᵢ + b))²``.

    That is LIBLINEAR's default, as in scikit-learn's LinearSVC with C = 1/λ; the bias is penalised too. The
    objective is piecewise quadratic, and a finite number of Newton steps ends at its minimum (Keerthi & DeCoste
    2005, "A modified finite Newton method for fast solution of large scale linear SVMs").

    Args:
        regularisation: λ > 0.
        solver: "batched" or "scikit-learn" (task after task).
    """

    def fit(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        """Fit a head to each task (see ``Head``)."""
        require_labels(y, "head 'svm'")
        if self.solver == "scikit-learn":
            return self._scikit_learn(x, y, outputs)
        rows, present = targets(y, outputs)
        given, side = (t.mT.unsqueeze(-1) for t in (rows.sum(-1, keepdim=True), 2 * rows - 1))
        x = x.double()
        parts = principal(torch.cat([x, torch.ones_like(x[..., :1])], dim=-1) * given.squeeze(1))
        # [tasks, 1, support, rank] for weights [tasks, ways, rank, 1]: each way has its own steps
        z, penalty = parts.points.unsqueeze(1), parts.penalties(self.regularisation)[:, None, :, None]
        misses = lambda weight: (1 - side * (z @ weight)).clamp(min=0) * given

        def value(weight: Tensor) -> Tensor:
            return (penalty * weight.square()).sum((-2, -1)) / 2 + misses(weight).square().sum((-2, -1))

        def derivatives(weight: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            miss = misses(weight)
            slope = penalty * weight - 2 * z.mT @ (side * miss)
            return slope, lambda right: _newton(z, miss > 0, penalty, right)

        found = minimise(value, derivatives, z.new_zeros(len(z), outputs, z.shape[-1], 1))
        found = parts.weights(found.squeeze(-1).mT)
        return linear(found[..., :-1, :], found[..., -1, :], present)

    def _scikit_learn(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        from sklearn import svm

        make = lambda: svm.LinearSVC(C=1 / self.regularisation, tol=1e-8, max_iter=1_000_000, random_state=0)
        return per_task(make, x, y, outputs)


def _newton(z: Tensor, active: Tensor, penalty: Tensor, right: Tensor) -> Tensor:
    """Solve (2 Z_aᵀ Z_a + diag(penalty)) d = right."""
    if bool((penalty > LOST).all()):
        hessian = 2 * (active * z).mT @ z + torch.diag_embed(penalty.squeeze(-1))
        return torch.linalg.solve(hessian, right)
    scale = penalty.rsqrt()
    rows = active * z * scale.mT
    wide = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device).expand(*rows.shape[:-2], -1, -1)
    # In variables in which the penalty is 1 in all directions; by the triangle of [√2 Z_a; 1] and not by its square,
    # which would lose the penalty of large features.
    triangle = torch.linalg.qr(torch.cat([2**0.5 * rows, wide], dim=-2), mode="r")[1]
    half = torch.linalg.solve_triangular(triangle.mT, scale * right, upper=False)
    return scale * torch.linalg.solve_triangular(triangle, half, upper=True)
