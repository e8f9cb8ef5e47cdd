"""Each Hessian-vector product from two first derivatives: no second derivative of a ReLU is ever asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import grad

from metaft.inner.adapt import Inner
from metaft.inner.batching import over_tasks
from metaft.inner.rules import Params
from metaft.outer.adjoint import reverse_pass
from metaft.outer.pieces import Pullback
from metaft.outer.problem import AlongThePath, Estimate, Problem
from metaft.tasks.batch import TaskBatch
from metaft.validate import require_positive


def linearise(
    inner: Inner,
    batch: TaskBatch,
    shared: bool,
    adapting: Params,
    live: Params,
    fixed: Params,
    step: float | None = None,
) -> tuple[Params, Pullback]:
    """The gradient with central differences for its Jacobian: H w ≈ (∇J(θ + ε w) − ∇J(θ − ε w)) / 2ε.

    The same two gradients give the mixed product towards parameters that do not adapt (Liu et al. 2019, eq. 8).
    ε is chosen for each task such that ‖ε w‖ = δ · max(1, ‖θ‖), with δ from ``default_step``.

    Args:
        inner: the inner loop.
        batch: the tasks.
        shared: whether all tasks stand on one set of parameters.
        adapting: where to linearise.
        live: further parameters towards which a product is wanted.
        fixed: the rest.
        step: δ; None for the default of the precision.

    Returns:
        The gradient and the product.
    """
    delta = default_step(next(iter(adapting.values())).dtype) if step is None else step
    grads = inner.gradient(batch.support_x, batch.support_y, shared, batch.keys)(adapting, fixed | live)

    def at(where: Params) -> tuple[Params, Params]:
        one = grad(lambda a, b, x, y: inner.value(a, fixed | b, x, y), argnums=(0, 1))
        return over_tasks(one, (0, None, 0, 0), batch.keys)(where, live, batch.support_x, batch.support_y)

    def product(cotangent: Params) -> tuple[Params, Params]:
        length = _norm(cotangent, 1)
        size = _norm(adapting, 0 if shared else 1).clamp(min=1.0)
        epsilon = delta * size / torch.where(length > 0, length, 1.0)
        moved = [{n: p + sign * _like(epsilon, w) * w for (n, p), w in _pairs(adapting, cotangent)} for sign in (1, -1)]
        plus, minus = at(moved[0]), at(moved[1])
        of_adapting, of_live = (
            {n: (a - b) / (2 * _like(epsilon, a)) for (n, a), b in _pairs(p, m)}
            for p, m in zip(plus, minus, strict=True)
        )
        if shared:
            of_adapting = {n: v.sum(0) for n, v in of_adapting.items()}
        return of_adapting, {n: v.sum(0) for n, v in of_live.items()}

    return grads, product


def default_step(dtype: torch.dtype) -> float:
    """δ, how far θ is moved, relative to its length.

    Args:
        dtype: precision of the parameters.

    Returns:
        u^(2/3), u the precision's unit roundoff. Rounding leaves an error near u/δ, and truncation δ² on a smooth
        network, which would be least together at u^(1/3). But with ReLU the two points may lie on either side of a
        kink: that happens with a probability in proportion to δ, and then the error is in proportion to 1/δ. So δ is
        made as small as rounding allows: u/δ = u^(1/3) at worst (results/estimators.md shows the errors over δ).
    """
    return float(torch.finfo(dtype).eps) ** (2 / 3)


def _pairs(a: Params, b: Params) -> list[tuple[tuple[str, Tensor], Tensor]]:
    return [((name, value), b[name]) for name, value in a.items()]


def _norm(params: Params, leading: int) -> Tensor:
    """Length over all parameters; of each task if there is a leading task axis."""
    parts = [p.flatten(leading).square().sum(-1) if p.dim() > leading else p.square() for p in params.values()]
    return torch.stack(parts).sum(0).sqrt()


def _like(per_task: Tensor, value: Tensor) -> Tensor:
    return per_task.reshape(-1, *(1,) * (value.dim() - 1))


@dataclass(frozen=True)
class FiniteDifference(AlongThePath):
    """Each Hessian-vector product from two first derivatives, no second one (Liu, Simonyan & Yang 2019, eq. 8).

    Args:
        step: δ, how far the parameters are moved, relative to their length; by default by precision.

    Raises:
        MetaftError: if it is not a positive finite number.
    """

    step: float | None = None
    name: ClassVar[str] = "finite-difference"

    def __post_init__(self) -> None:
        if self.step is not None:
            require_positive(self.step, "the step of finite differences")

    def __call__(self, problem: Problem) -> Estimate:
        """The adjoint with central differences."""
        return reverse_pass(partial(linearise, step=self.step), True, problem)
