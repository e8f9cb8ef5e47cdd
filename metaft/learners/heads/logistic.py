"""Logistic regression, all tasks at once by Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from metaft.learners.heads.head import Fitted, linear, require_labels, targets
from metaft.learners.heads.newton import conjugate_gradients, minimise
from metaft.learners.heads.penalised import Penalised
from metaft.learners.heads.per_task import per_task
from metaft.learners.heads.principal import principal
from metaft.tasks.batch import IGNORE

DIRECT = 320
"""Numbers of a task whose Hessian is formed and solved with; more are left to conjugate gradients."""


@dataclass(frozen=True)
class Logistic(Penalised):
    """Multinomial logistic regression with an L2 penalty: ``Σᵢ −log pᵢ(yᵢ) + λ/2 ‖W‖²``, the bias is free.

    λ = 1/C of scikit-learn's LogisticRegression, which for two classes penalises the difference of their weights;
    so does this.

    Args:
        regularisation: λ > 0.
        solver: "batched" (Newton's method in float64, see ``minimise``) or "scikit-learn".
    """

    def fit(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        """Fit a head to each task (see ``Head``)."""
        require_labels(y, "head 'logistic'")
        if self.solver == "scikit-learn":
            return self._scikit_learn(x, y, outputs)
        aims, present = targets(y, outputs)
        given = aims.sum(-1, keepdim=True)
        x = x.double()
        # The bias is free, so a shift of the features changes nothing but the bias.
        centre = (x * given).sum(-2, keepdim=True) / given.sum(-2, keepdim=True)
        parts = principal((x - centre) * given)
        z = torch.cat([parts.points, given], dim=-1)
        # ‖w₁ − w₀‖² = 2 (‖w₀‖² + ‖w₁‖²) where w₀ = −w₁: two classes are penalised twice as much.
        strength = self.regularisation * (1 + (present.sum(-1, keepdim=True) == 2).to(z.dtype))
        penalty = parts.penalties(strength)
        penalty = torch.cat([penalty, torch.zeros_like(penalty[..., :1])], dim=-1).unsqueeze(-1)
        others = (aims == 0) & present.unsqueeze(-2)

        def value(weight: Tensor) -> Tensor:
            fit = _chances(z @ weight, aims, others)[0].squeeze(-1) * given.squeeze(-1)
            return fit.sum(-1) + (penalty * weight.square()).sum((-2, -1)) / 2

        def derivatives(weight: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            _, chance, wrong = _chances(z @ weight, aims, others)
            chance, wrong = chance * given, wrong * given
            slope = z.mT @ (wrong - aims * wrong.sum(-1, keepdim=True)) + penalty * weight
            if weight.shape[-2] * weight.shape[-1] <= DIRECT:
                return slope, partial(_solve, z, chance, penalty, present)

            def curvature(direction: Tensor) -> Tensor:
                change = z @ direction
                change = change - (aims * change).sum(-1, keepdim=True)  # what is small stays precise
                change = chance * (change - (wrong * change).sum(-1, keepdim=True))
                return z.mT @ change + penalty * direction

            bent = z.square().mT @ (chance * (chance.sum(-1, keepdim=True) - chance)) + penalty
            size = torch.where(bent > 0, bent, 1.0)

            def newton(right: Tensor) -> Tensor:
                direction, solved = conjugate_gradients(curvature, right, size)
                for task in (~solved).nonzero().flatten().tolist():  # large features, one after another
                    own = slice(task, task + 1)
                    direction[own] = _solve(z[own], chance[own], penalty[own], present[own], right[own])
                return direction

            return slope, newton

        found = minimise(value, derivatives, z.new_zeros(*z.shape[:-2], z.shape[-1], outputs))
        weight = parts.weights(found[..., :-1, :])
        return linear(weight, found[..., -1, :] - (centre @ weight).squeeze(-2), present)

    def _scikit_learn(self, x: Tensor, y: Tensor, outputs: int) -> Fitted:
        from sklearn import linear_model

        # Features of size 1 about 0, for a test of the end that depends on their size: with C in proportion to the
        # square of what they are divided by, the minimum is the same.
        given = (y != IGNORE).unsqueeze(-1).double()
        count = given.sum(-2, keepdim=True)
        centre = (x.double() * given).sum(-2, keepdim=True) / count
        spread = ((x.double() - centre) * given).square().sum((-2, -1), keepdim=True) / (count * x.shape[-1])
        size = torch.where(spread > 0, spread, 1.0).sqrt()
        strengths = iter((size.square() / self.regularisation).flatten().tolist())
        make = lambda: linear_model.LogisticRegression(C=next(strengths), tol=1e-8, max_iter=10_000)
        fitted = per_task(make, (x.double() - centre) / size, y, outputs)
        return Fitted(lambda q: fitted.scores((q.double() - centre) / size).to(q.dtype), fitted.numbers)


def _chances(scores: Tensor, aims: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Losses and probabilities, precise to the last digit where an example is told apart with certainty.

    Args:
        scores: ``[tasks, support, ways]``.
        aims: one-hot labels, zero for padding.
        others: ``bool``, the classes of a task that are not the label.

    Returns:
        −log p(label), ``[tasks, support, 1]``; the probabilities; and those of the other classes, 0 for the label,
        whose sum is 1 − p(label) without a difference being taken.
    """
    ahead = (scores - (scores * aims).sum(-1, keepdim=True)).masked_fill(~others, -torch.inf)
    most = ahead.amax(-1, keepdim=True).clamp(min=0)
    odds, own = (ahead - most).exp(), (-most).exp()
    sure = odds.sum(-1, keepdim=True)
    loss = torch.where(most > 0, most + (own + sure).log(), sure.log1p())
    wrong = odds / (own + sure)
    return loss, wrong + aims * own / (own + sure), wrong


def _solve(z: Tensor, chance: Tensor, penalty: Tensor, present: Tensor, right: Tensor) -> Tensor:
    """Solve with the whole Hessian ``[ranks · ways, ranks · ways]`` of each task."""
    ranks, ways = right.shape[-2:]
    whole = z.new_zeros(*z.shape[:-2], ranks, ways, ranks, ways)
    for a in range(ways):
        for b in range(a):
            block = (z * (chance[..., a] * chance[..., b]).unsqueeze(-1)).mT @ z
            whole[..., a, :, b] = whole[..., b, :, a] = -block
            whole[..., a, :, a] += block
            whole[..., b, :, b] += block
    whole = whole.flatten(-4, -3).flatten(-2)
    diagonal = whole.diagonal(dim1=-2, dim2=-1)
    diagonal += penalty.expand(*penalty.shape[:-1], ways).flatten(-2)
    # All biases together change nothing, an absent class's neither: without curvature there is nothing to solve.
    bias = whole[..., -ways:, -ways:]
    mean = bias.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    both = (present.unsqueeze(-1) & present.unsqueeze(-2)).to(z.dtype)
    bias += torch.where(mean > 0, mean, 1.0) * (both + torch.diag_embed((~present).to(z.dtype)))
    size = diagonal.clamp(min=torch.finfo(z.dtype).tiny).rsqrt()
    scaled = whole * size.unsqueeze(-1) * size.unsqueeze(-2)
    factor, failed = torch.linalg.cholesky_ex(scaled)
    if failed.any():
        jitter = torch.where(failed > 0, 1e-12, 0.0)[..., None, None] * torch.eye(
            scaled.shape[-1], dtype=z.dtype, device=z.device
        )
        factor = torch.linalg.cholesky(scaled + jitter)
    solved = torch.cholesky_solve((right.flatten(-2) * size).unsqueeze(-1), factor).squeeze(-1)
    return (solved * size).unflatten(-1, (ranks, ways))
