"""First-order meta-gradient: the query gradient at the adapted parameters (Finn et al. 2017, §5.2: FOMAML)."""

from __future__ import annotations

from torch import Tensor

from metaft.inner.adapt import Loss, adapt
from metaft.inner.rules import Params, Rule
from metaft.outer.adjoint import QueryLoss, query_gradient
from metaft.tasks.batch import TaskBatch


def first_order(
    loss: Loss, query_loss: QueryLoss, rule: Rule, steps: int, memory: str, params: Params, batch: TaskBatch
) -> tuple[Tensor, Params]:
    """Take every ∂θ_{k+1}/∂θ_k for the identity, so that v_0 = v_K.

    Args:
        loss: the support loss of one task.
        query_loss: the query loss of one task.
        rule: the inner rule.
        steps: K.
        memory: has no effect; only the last parameters are needed.
        params: the meta-parameters θ_0.
        batch: the tasks.

    Returns:
        Query losses ``[tasks]`` and the approximate gradient of their sum.
    """
    adapted = adapt(loss, rule, steps, params, batch.support_x, batch.support_y)[-1]
    losses, grads = query_gradient(query_loss, adapted, batch, shared=steps == 0)
    return losses, grads if steps == 0 else {name: g.sum(0) for name, g in grads.items()}
