"""The meta-gradient as an adjoint: the reverse pass of K inner steps, one vector-Jacobian product a step.

K inner steps are a recurrence c_{k+1} = S_k(c_k) over the carry c = (parameters, rule state). With
v_K = ∇ L_query at c_K, the meta-gradient is v_0 of v_k = (∂S_k/∂c)ᵀ v_{k+1}; for plain SGD that is
v_k = v_{k+1} − α H_k v_{k+1} (Finn et al. 2017, §2.2; written as a reverse pass by Maclaurin et al. 2015, alg. 2).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vjp, vmap

from metaft.inner.adapt import Carry, Loss, batched_step
from metaft.inner.rules import Params, Rule
from metaft.tasks.batch import TaskBatch

QueryLoss = Callable[[Params, Tensor, Tensor, Tensor, Tensor], Tensor]
Pullback = Callable[[Carry], tuple[Carry]]


def query_gradient(query_loss: QueryLoss, params: Params, batch: TaskBatch, shared: bool) -> tuple[Tensor, Params]:
    """The query loss of each task and its gradient at that task's parameters.

    Args:
        query_loss: ``query_loss(params, support_x, support_y, query_x, query_y) → scalar`` of one task.
        params: adapted parameters, stacked over tasks; or one set if ``shared``.
        batch: the tasks.
        shared: whether ``params`` is one set for all tasks; then the gradient is summed over tasks.

    Returns:
        Losses ``[tasks]`` and the gradient of their sum.
    """
    in_dims = (None if shared else 0, 0, 0, 0, 0)
    of_tasks = vmap(query_loss, in_dims=in_dims, randomness="different")
    losses, pull = vjp(lambda p: of_tasks(p, *batch.tensors()), params)[:2]
    return losses, pull(torch.ones_like(losses))[0]


def exact(
    loss: Loss, query_loss: QueryLoss, rule: Rule, steps: int, memory: str, params: Params, batch: TaskBatch
) -> tuple[Tensor, Params]:
    """The full meta-gradient, through all K steps, Hessians included.

    With ``memory="flat"`` only the K carries are kept and each step is run again when its turn comes in the reverse
    pass; activations of one step exist at a time, whatever K. The last step's are kept from the forward pass: that
    costs no more memory at the peak than recomputing them, and at K = 1 nothing is computed twice.
    With ``memory="graph"`` every step's activations are kept and nothing is recomputed.

    Args:
        loss: the support loss of one task.
        query_loss: the query loss of one task.
        rule: the inner rule.
        steps: K.
        memory: "flat" or "graph".
        params: the meta-parameters θ_0.
        batch: the tasks.

    Returns:
        Query losses ``[tasks]`` and the gradient of their sum.
    """
    support = (batch.support_x, batch.support_y)

    def step(k: int) -> Callable[[Carry], Carry]:
        return lambda carry: batched_step(loss, rule, shared=k == 0)(carry, *support)

    carries: list[Carry] = [(params, rule.init(params))]
    kept: dict[int, Pullback] = {}
    for k in range(steps):
        if memory == "graph" or k == steps - 1:
            after, kept[k] = vjp(step(k), carries[k])[:2]
        else:
            after = step(k)(carries[k])
        carries.append(after)

    adapted, state = carries.pop()
    losses, grads = query_gradient(query_loss, adapted, batch, shared=steps == 0)
    adjoint: Carry = (grads, {name: torch.zeros_like(value) for name, value in state.items()})
    for k in reversed(range(steps)):
        pull = kept.pop(k) if k in kept else vjp(step(k), carries[k])[1]
        (adjoint,) = pull(adjoint)
        carries.pop()
    return losses, adjoint[0]
