"""The inner loop: K steps of a rule on the support sets of all tasks at once."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.func import grad, vmap

from metaft.inner.rules import Params, Rule, State

Loss = Callable[[Params, Tensor, Tensor], Tensor]
Carry = tuple[Params, State]


def batched_step(loss: Loss, rule: Rule, shared: bool) -> Callable[[Carry, Tensor, Tensor], Carry]:
    """Make one inner step of every task in a batch.

    Args:
        loss: the support loss of one task, ``loss(params, x, y) → scalar``.
        rule: the inner rule.
        shared: whether all tasks stand on one set of parameters (before the first step) or each has its own,
            stacked on a leading axis. Shared parameters stay one tensor, so that the first pass over them is one
            large batch and the gradient towards them is summed over tasks by the operator itself.

    Returns:
        ``step((params, state), support_x, support_y) → (params, state)``, stacked over tasks.
    """

    def one(carry: Carry, x: Tensor, y: Tensor) -> Carry:
        params, state = carry
        return rule.step(params, state, grad(loss)(params, x, y))

    return vmap(one, in_dims=(None if shared else 0, 0, 0), randomness="different")


def adapt(loss: Loss, rule: Rule, steps: int, params: Params, support_x: Tensor, support_y: Tensor) -> list[Params]:
    """Run the inner loop without keeping a graph.

    Args:
        loss: the support loss of one task.
        rule: the inner rule.
        steps: how many steps, K.
        params: the initial parameters, shared by all tasks.
        support_x: ``[tasks, support, *input]``.
        support_y: ``[tasks, support, ...]``.

    Returns:
        The K + 1 parameter dictionaries θ_0 … θ_K; θ_0 is ``params`` itself, the others are stacked over tasks.
    """
    carry: Carry = (params, rule.init(params))
    trajectory = [params]
    for k in range(steps):
        carry = batched_step(loss, rule, shared=k == 0)(carry, support_x, support_y)
        trajectory.append(carry[0])
    return trajectory
