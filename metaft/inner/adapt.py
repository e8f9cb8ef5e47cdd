"""The inner loop: K steps of a rule down an objective on the support sets of all tasks at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor
from torch.func import grad, vmap

from metaft.inner.batching import over_tasks
from metaft.inner.objectives import Loss, Objective, TaskLoss
from metaft.inner.rules import LEARNED, Params, Rule, State

Gradient = Callable[[Params, Params], Params]


@dataclass(frozen=True)
class TaskStart:
    """Adapting parameters that are no meta-parameters: each task computes where they begin from its support set.

    Args:
        names: what they are called.
        of_task: ``of_task(params, support_x, support_y) → those parameters`` of one task, differentiable.
    """

    names: tuple[str, ...]
    of_task: Callable[[Params, Tensor, Tensor], Params]


@dataclass(frozen=True)
class Inner:
    """Fine-tuning as a map (initial parameters, support set) → adapted parameters, in its four parts but one.

    Args:
        loss: the loss of one task, ``loss(params, x, y) → scalar``.
        rule: how a step moves the parameters.
        steps: how many steps, K.
        adapts: names of the parameters that adapt; all of the network's if None.
        objective: what is descended; the loss itself by default.
        begin: adapting parameters that begin from the support set, if any do.
        per_step: meta-parameters with a leading axis over steps: step k uses the k-th, a step beyond them the last,
            and so do the queries after it (those before the first step the first).
    """

    loss: Loss
    rule: Rule
    steps: int
    adapts: tuple[str, ...] | None = None
    objective: Objective = field(default_factory=TaskLoss)
    begin: TaskStart | None = None
    per_step: tuple[str, ...] = ()

    def start(self, params: Params) -> Params:
        """The adapting parameters before the first step that are meta-parameters, from all of these."""
        if self.adapts is None:
            return network(params)
        begun = self.begin.names if self.begin else ()
        return {name: params[name] for name in self.adapts if name not in begun}

    def begun(self, params: Params, support_x: Tensor, support_y: Tensor, keys: Tensor | None = None) -> Params:
        """The adapting parameters that begin from the support set, stacked over tasks; none for most learners."""
        if self.begin is None:
            return {}
        own = network(self.at_step(0, params))
        return over_tasks(self.begin.of_task, (None, 0, 0), keys)(own, support_x, support_y)

    def at_step(self, k: int, params: Params) -> Params:
        """The meta-parameters as step k = 0, 1, … uses them: of those that are learned for each step, its own."""
        if not self.per_step:
            return params
        return {n: p[self.place(k, p)] if n in self.per_step else p for n, p in params.items()}

    def after(self, steps: int, params: Params) -> Params:
        """The meta-parameters as queries after so many steps use them: those of the last step taken."""
        return self.at_step(max(steps - 1, 0), params)

    @staticmethod
    def place(k: int, stack: Tensor) -> int:
        """Where step k's stand among parameters of several steps, ``[steps, …]``."""
        return min(k, stack.shape[0] - 1)

    def gradient(self, support_x: Tensor, support_y: Tensor, shared: bool, keys: Tensor | None = None) -> Gradient:
        """The inner gradient of every task.

        Args:
            support_x: ``[tasks, support, *input]``.
            support_y: ``[tasks, support, ...]``.
            shared: whether all tasks stand on one set of parameters (before the first step) or each has its own,
                stacked on a leading axis. Shared parameters stay one tensor, so that the first pass over them is one
                large batch and a product with its Jacobian is summed over tasks by the operator itself.
            keys: ``int64 [tasks]``, of this step's random numbers, if it may draw some.

        Returns:
            ``(adapting, params) → gradients``, stacked over tasks; ``params`` are all meta-parameters, of which those
            that adapt count as the start only.
        """
        of_tasks = over_tasks(grad(self.value), (None if shared else 0, None, 0, 0), keys)
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
    """The network's own among the meta-parameters: what a rule learns or a learner gathers has a colon in its name."""
    return {name: value for name, value in params.items() if ":" not in name}


def learned(params: Params) -> Params:
    """What the rule learns among the meta-parameters."""
    return {name: value for name, value in params.items() if name.startswith(LEARNED)}


def per_task(params: Params, tasks: int) -> Params:
    """The same parameters for every task, stacked without their memory."""
    return {n: p.expand(tasks, *p.shape) for n, p in params.items()}


def adapt(inner: Inner, params: Params, support_x: Tensor, support_y: Tensor) -> list[Params]:
    """Run the inner loop without keeping a graph.

    Args:
        inner: the inner loop.
        params: the meta-parameters, shared by all tasks.
        support_x: ``[tasks, support, *input]``.
        support_y: ``[tasks, support, ...]``.

    Returns:
        The adapting parameters after 0 … K steps, stacked over tasks; before the first they are shared, unless some
        begin from the support set.
    """
    adapting, rates = inner.start(params), learned(params)
    if inner.begin:
        adapting = per_task(adapting, len(support_x)) | inner.begun(params, support_x, support_y)
    state, trajectory = inner.rule.init(adapting), [adapting]
    for k in range(inner.steps):
        shared = k == 0 and inner.begin is None
        grads = inner.gradient(support_x, support_y, shared)(adapting, inner.at_step(k, params))
        adapting, state = inner.move(k, shared)(adapting, state, grads, rates)
        trajectory.append(adapting)
    return trajectory
