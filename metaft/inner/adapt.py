"""The inner loop: K steps of a rule down an objective on the support sets of all tasks at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor
from torch.func import grad, vmap

from metaft.inner.objectives import Loss, Objective, TaskLoss
from metaft.inner.rules import LEARNED, Params, Rule, State
from metaft.inner.tasks import over_tasks

Gradient = Callable[[Params, Params], Params]


@dataclass(frozen=True)
class Inner:
    """Fine-tuning as a map (initial parameters, support set) → adapted parameters, in its four parts but one.

    Args:
        loss: the loss of one task, ``loss(params, x, y) → scalar``.
        rule: how a step moves the parameters.
        steps: how many steps, K.
        adapts: names of the parameters that adapt; all of the network's if None.
        objective: what is descended; the loss itself by default.
    """

    loss: Loss
    rule: Rule
    steps: int
    adapts: tuple[str, ...] | None = None
    objective: Objective = field(default_factory=TaskLoss)

    def start(self, params: Params) -> Params:
        """The adapting parameters before the first step, from all meta-parameters."""
        if self.adapts is None:
            return network(params)
        return {name: params[name] for name in self.adapts}

    def gradient(self, support_x: Tensor, support_y: Tensor, shared: bool) -> Gradient:
        """The inner gradient of every task.

        Args:
            support_x: ``[tasks, support, *input]``.
            support_y: ``[tasks, support, ...]``.
            shared: whether all tasks stand on one set of parameters (before the first step) or each has its own,
                stacked on a leading axis. Shared parameters stay one tensor, so that the first pass over them is one
                large batch and a product with its Jacobian is summed over tasks by the operator itself.

        Returns:
            ``(adapting, params) → gradients``, stacked over tasks; ``params`` are all meta-parameters, of which those
            that adapt count as the start only.
        """
        of_tasks = over_tasks(grad(self.value), (None if shared else 0, None, 0, 0))
        return lambda adapting, params: of_tasks(adapting, params, support_x, support_y)

    def value(self, adapting: Params, params: Params, x: Tensor, y: Tensor) -> Tensor:
        """The objective of one task."""
        start = network(params)
        return self.objective(self.loss, start | adapting, start, x, y)

    def move(self, k: int, shared: bool) -> Callable[[Params, State, Params, Params], tuple[Params, State]]:
        """Step k of the rule for every task: ``(adapting, state, gradients, learned) → (adapting, state)``."""
        before = None if shared else 0
        return vmap(
            lambda adapting, state, grads, learned: self.rule.step(k, adapting, state, grads, learned),
            in_dims=(before, before, 0, None),
        )


def network(params: Params) -> Params:
    """The network's own among the meta-parameters, without what the rule learns."""
    return {name: value for name, value in params.items() if not name.startswith(LEARNED)}


def learned(params: Params) -> Params:
    """What the rule learns among the meta-parameters."""
    return {name: value for name, value in params.items() if name.startswith(LEARNED)}


def adapt(inner: Inner, params: Params, support_x: Tensor, support_y: Tensor) -> list[Params]:
    """Run the inner loop without keeping a graph.

    Args:
        inner: the inner loop.
        params: the meta-parameters, shared by all tasks.
        support_x: ``[tasks, support, *input]``.
        support_y: ``[tasks, support, ...]``.

    Returns:
        The adapting parameters after 0 … K steps; before the first they are shared, then stacked over tasks.
    """
    adapting, rates = inner.start(params), learned(params)
    state, trajectory = inner.rule.init(adapting), [adapting]
    for k in range(inner.steps):
        grads = inner.gradient(support_x, support_y, shared=k == 0)(adapting, params)
        adapting, state = inner.move(k, shared=k == 0)(adapting, state, grads, rates)
        trajectory.append(adapting)
    return trajectory
