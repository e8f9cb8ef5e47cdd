"""First-order meta-gradient: the query gradient at the adapted parameters (Finn et al. 2017, §5.2: FOMAML)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from metaft.inner.adapt import Inner
from metaft.inner.rules import Params
from metaft.outer.adjoint import reverse_pass
from metaft.outer.pieces import Pullback
from metaft.outer.problem import AlongThePath, Estimate, Problem
from metaft.tasks.batch import TaskBatch


def linearise(
    inner: Inner, batch: TaskBatch, shared: bool, adapting: Params, live: Params, fixed: Params
) -> tuple[Params, Pullback]:
    """The gradient taken for a constant: its Hessian-vector product is zero.

    With plain SGD every v_k is then v_K. Learned rates still have their gradient, as they stand outside the Hessian.
    """
    grads = inner.gradient(batch.support_x, batch.support_y, shared, batch.keys)(adapting, fixed | live)

    def nothing(cotangent: Params) -> tuple[Params, Params]:
        return {n: torch.zeros_like(p) for n, p in adapting.items()}, {n: torch.zeros_like(p) for n, p in live.items()}

    return grads, nothing


@dataclass(frozen=True)
class FirstOrder(AlongThePath):
    """Every inner gradient taken for a constant (Finn et al. 2017, §5.2: FOMAML)."""

    name: ClassVar[str] = "first-order"
    in_higher: ClassVar[bool | None] = False

    def __call__(self, problem: Problem) -> Estimate:
        """The adjoint without Hessian-vector products."""
        return reverse_pass(linearise, True, problem, constant=True)
