"""R2-D2: a ridge regression head, differentiated through its closed form (Bertinetto et al. 2019)."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError, nearest
from metaft.learners.heads.head import never, targets
from metaft.learners.metric.episodic import Comparison, EpisodicLearner
from metaft.models.functional import BatchNormMode
from metaft.tasks.family import Kind
from metaft.validate import require_positive

Fit = Literal["sum", "mean"]
SCALE = 10.0
LEAST = 1e-6
"""The penalty never falls below this, so that learning it cannot make the system singular."""


class RidgeHead(Comparison):
    """Least squares on one-hot labels (or on values) with an L2 penalty, solved anew for every task.

    Args:
        regularisation: λ > 0 at first; meta-trained unless ``fixed``.
        fit: whether the penalty stands against the "sum" or the "mean" of the squared errors.
        kind: "classification" (scores are scaled by a meta-trained number, at first 10) or "regression".
        fixed: whether λ stays.
    """

    def __init__(
        self, regularisation: float = 1.0, fit: Fit = "sum", kind: Kind = "classification", fixed: bool = False
    ) -> None:
        super().__init__()
        self.regularisation, self.fit, self.kind, self.fixed = regularisation, fit, kind, fixed
        start = torch.tensor(math.log(regularisation))
        if fixed:
            self.register_buffer("log_penalty", start, persistent=False)
        else:
            self.log_penalty = nn.Parameter(start)
        if kind == "classification":
            self.log_scale = nn.Parameter(torch.tensor(math.log(SCALE)))

    def forward(self, support: Tensor, support_y: Tensor, queries: Tensor, outputs: int) -> Tensor:
        """As ``Comparison``."""
        if self.kind == "regression":
            aims, present, counted = support_y.double(), None, torch.ones_like(support_y[..., :1]).double()
        else:
            aims, present = targets(support_y, outputs)
            counted = aims.sum(-1, keepdim=True)
        # The Gram matrix squares the condition number: float64 costs nothing at this size.
        x = torch.cat([support.double(), counted], -1) * counted
        penalty = LEAST + self.log_penalty.double().exp()
        if self.fit == "mean":
            penalty = penalty * counted.sum(-2, keepdim=True)
        weight = ridge(x, aims, penalty)
        answers = (queries.double() @ weight[..., :-1, :] + weight[..., -1:, :]).to(queries.dtype)
        return answers if present is None else never(self.log_scale.exp() * answers, present)

    def numbers(self, width: int, outputs: int) -> int:
        """The ridge weights and the bias."""
        return (width + 1) * outputs

    def describe(self) -> dict[str, object]:
        """Its settings; the penalty is that before meta-training."""
        told: dict[str, object] = {"regularisation": self.regularisation, "fit": self.fit}
        return {**told, "fixed": True} if self.fixed else told


def ridge(x: Tensor, y: Tensor, penalty: Tensor) -> Tensor:
    """Minimise ‖XW − Y‖² + λ‖W‖², in the smaller of examples and features (eq. 4 and, by Woodbury, 6).

    Args:
        x: ``[tasks, examples, features]``.
        y: ``[tasks, examples, outputs]``.
        penalty: λ > 0, a scalar or ``[tasks, 1, 1]``.

    Returns:
        ``[tasks, features, outputs]``.
    """
    few = x.shape[-2] < x.shape[-1]
    gram = x @ x.mT if few else x.mT @ x
    regularised = gram + penalty * torch.eye(gram.shape[-1], dtype=x.dtype, device=x.device)
    solved = torch.cholesky_solve(y if few else x.mT @ y, torch.linalg.cholesky(regularised))
    return x.mT @ solved if few else solved


def r2d2(
    model: nn.Module,
    *,
    regularisation: float = 1.0,
    fixed_regularisation: bool = False,
    fit: Fit = "sum",
    batch_norm: BatchNormMode = "running",
    kind: Kind = "classification",
) -> EpisodicLearner:
    """The support set fits a ridge regression on its features in closed form, and the gradient passes through it.

    Bertinetto, Henriques, Torr & Vedaldi 2019, "Meta-learning with differentiable closed-form solvers", §3.2: λ and the
    scale α of the scores are meta-trained; systems as large as the support set, by the Woodbury identity, where that
    is smaller than the number of features. They train on more ways than they test on (Omniglot: 60).

    Paper and code disagree: in the paper the penalty stands against the sum of squared errors (``fit="sum"``), in the
    code against their mean, where λ is 50 and stays (``fit="mean"`` with ``fixed_regularisation``), which suits a
    number of shots that varies: they draw it for each task, from 1 to 10. In their code α starts at 10 on Omniglot and
    at 1e-4 elsewhere; here at 10.

    Deviations: λ and α are learned as logarithms, so that they stay positive. A constant feature gives every class a
    bias, penalised like the rest, as in their code. Their β, one number added to all scores, is left out: it cancels in
    the softmax. For a regression the ridge's own answer stands, without α.

    Args:
        model: any module whose last block is a linear head, which is left out.
        regularisation: λ > 0 before meta-training.
        fixed_regularisation: whether λ stays as it is.
        fit: "sum" or "mean".
        batch_norm: "running", "transductive" or "inductive" (see ``TaskFeatures``).
        kind: "classification" or "regression".

    Returns:
        The learner.

    Raises:
        MetaftError: for an unknown option, λ ≤ 0, or a network without a linear head.
    """
    require_positive(regularisation, "regularisation")
    if fit not in get_args(Fit):
        raise MetaftError(f"unknown fit {fit!r}{nearest(fit, get_args(Fit))}")
    return EpisodicLearner("r2d2", model, RidgeHead(regularisation, fit, kind, fixed_regularisation), batch_norm, kind)
