"""Ridge regression on one-hot labels, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.learners.heads.head import Fitted, linear, targets
from metaft.learners.heads.penalised import Penalised
from metaft.learners.heads.per_task import per_task
from metaft.learners.heads.principal import principal


@dataclass(frozen=True)
class Ridge(Penalised):
    """Least squares with an L2 penalty on the weights, not on the bias: ``‖Y − XW − b‖² + λ‖W‖²``.

    Targets are +1 for the class and −1 for the others, as in scikit-learn's RidgeClassifier, or the real values of
    a regression. Solved by the features' singular values, in the smaller of width and support size (Bertinetto et
    al. 2019, "Meta-learning with differentiable closed-form solvers", eq. 4–6, solve the normal equations; their head
    learns λ and rescales its scores).

    Args:
        regularisation: λ > 0.
        solver: "batched" (all tasks in one solve) or "scikit-learn" (task after task).
    """

    def fit(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        """Fit a head to each task (see ``Head``), or a regression to targets ``[tasks, support, outputs]``."""
        if self.solver == "scikit-learn":
            return self._scikit_learn(x, y, outputs)
        x = x.double()
        if y.is_floating_point():
            given, present, aims = torch.ones_like(x[..., :1]), None, y.double()
        else:
            rows, present = targets(y, outputs)
            given, aims = rows.sum(-1, keepdim=True), 2 * rows - 1
        count = given.sum(-2, keepdim=True)
        centre, level = (x * given).sum(-2, keepdim=True) / count, (aims * given).sum(-2, keepdim=True) / count
        x, aims = (x - centre) * given, (aims - level) * given
        parts = principal(x)
        # σ²/(σ² + λ) of what is found without a penalty: no number is squared, so none is lost beside a larger one.
        share = 1 / (1 + parts.penalties(self.regularisation))
        weight = parts.weights(share.unsqueeze(-1) * (parts.points.mT @ aims))
        return linear(weight, (level - centre @ weight).squeeze(-2), present)

    def _scikit_learn(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        from sklearn import linear_model

        if y.is_floating_point():
            raise MetaftError("head 'ridge' solves regressions batched; leave out solver=scikit-learn")
        return per_task(lambda: linear_model.RidgeClassifier(alpha=self.regularisation), x, y, outputs)
