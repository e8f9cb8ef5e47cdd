"""The exact meta-gradient: full Hessians through all K steps (Finn et al. 2017, eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.func import vjp

from metaft.inner.adapt import Inner
from metaft.inner.rules import Params
from metaft.outer.adjoint import reverse_pass
from metaft.outer.pieces import Pullback
from metaft.outer.problem import AlongThePath, Estimate, Problem
from metaft.tasks.batch import TaskBatch


def linearise(
    inner: Inner, batch: TaskBatch, shared: bool, adapting: Params, live: Params, fixed: Params
) -> tuple[Params, Pullback]:
    """The gradient with its exact transposed Jacobian, by differentiating it once more."""
    gradient = inner.gradient(batch.support_x, batch.support_y, shared, batch.keys)
    return vjp(lambda a, b: gradient(a, fixed | b), adapting, live)[:2]


@dataclass(frozen=True)
class Exact(AlongThePath):
    """Full Hessians through all K steps (Finn et al. 2017, eq. 1)."""

    name: ClassVar[str] = "exact"
    in_higher: ClassVar[bool | None] = True

    def __call__(self, problem: Problem) -> Estimate:
        """The adjoint, each step's Hessian-vector product taken exactly."""
        return reverse_pass(linearise, False, problem)
