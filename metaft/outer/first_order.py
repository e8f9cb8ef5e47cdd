"""First-order meta-gradient: the query gradient at the adapted parameters (Finn et al. 2017, §5.2: FOMAML)."""

from __future__ import annotations

from functools import partial

import torch

from metaft.inner.adapt import Inner
from metaft.inner.rules import Params
from metaft.outer.adjoint import reverse_pass
from metaft.outer.pieces import Pullback
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


first_order = partial(reverse_pass, linearise, True, constant=True)
