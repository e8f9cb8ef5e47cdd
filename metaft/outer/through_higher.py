"""The inner loop through the library ``higher``: any differentiable torch.optim, one task after another.

Grefenstette et al. 2019. It keeps the whole graph and loops over tasks, so it is slow; it is here for optimisers that
metaft has no rule for, and as an independent check of those it has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.inner.adapt import learned
from metaft.inner.rules import SGD, Adam, Momentum, Params, RMSProp, State
from metaft.inner.rules.rule import Plain
from metaft.outer.problem import Estimate, Problem

MakeOptimiser = Callable[[list[Tensor]], torch.optim.Optimizer]


@dataclass(frozen=True)
class TorchOptimiser(Plain):
    """An inner rule that is one of torch.optim's, for ``engine="higher"`` alone.

    Args:
        make: ``make(params) → optimiser``, such as ``lambda p: torch.optim.RMSprop(p, lr=0.01)``; ``higher`` must
            know a differentiable version of it that moves as the optimiser itself does. One that knows less than torch
            (no ``maximize``, another place of ε in Adam) is refused where it makes a difference.
    """

    make: MakeOptimiser

    def step(self, k: int, params: Params, state: State, grads: Params, learned: Params) -> tuple[Params, State]:
        """Refused: this optimiser is a black box to the other engines.

        Raises:
            MetaftError: always.
        """
        raise MetaftError("a TorchOptimiser needs engine='higher'; the other engines take metaft's own rules")


@lru_cache(maxsize=1)
def _rooted_adam() -> Callable[[list[Tensor], Adam], torch.optim.Optimizer]:
    """Our Adam as an optimiser that ``higher`` can differentiate: its own has no ε under the root."""
    import higher

    class RootedAdam(torch.optim.Optimizer):
        def __init__(self, params: list[Tensor], rule: Adam) -> None:
            super().__init__(params, {"rule": rule})

    class DifferentiableRootedAdam(higher.optim.DifferentiableOptimizer):
        def _update(self, grouped_grads: Any, **kwargs: Any) -> None:
            for index, (group, grads) in enumerate(zip(self.param_groups, grouped_grads, strict=True)):
                rule = group["rule"]
                for place, (p, given) in enumerate(zip(group["params"], grads, strict=True)):
                    g = torch.zeros_like(p) if given is None else given
                    state = self.state[index][place]
                    count = state["count"] = state.get("count", 0) + 1
                    first = state["first"] = rule.beta1 * state.get("first", 0.0) + (1 - rule.beta1) * g
                    second = state["second"] = rule.beta2 * state.get("second", 0.0) + (1 - rule.beta2) * g * g
                    mean, square = first / (1 - rule.beta1**count), second / (1 - rule.beta2**count)
                    group["params"][place] = p - rule.lr * mean / ((square + rule.eps_root).sqrt() + rule.eps)

    higher.optim.register_optim(RootedAdam, DifferentiableRootedAdam)
    return RootedAdam


OPTIMISERS: dict[type[Any], Callable[[Any], MakeOptimiser]] = {
    SGD: lambda rule: lambda p: torch.optim.SGD(p, rule.lr),
    Momentum: lambda rule: lambda p: torch.optim.SGD(p, rule.lr, momentum=rule.momentum),
    Adam: lambda rule: lambda p: _rooted_adam()(p, rule),
    RMSProp: lambda rule: lambda p: _rooted_adam()(p, rule),
    TorchOptimiser: lambda rule: rule.make,
}


def through_higher(exact: bool, problem: Problem) -> Estimate:
    """The meta-gradient by ``higher``'s differentiable optimisers and torch's autograd.

    Args:
        exact: full Hessians; otherwise first order.
        problem: what is asked; the rule must be SGD, Momentum, Adam, RMSProp or a ``TorchOptimiser``. ``memory`` and
            ``wrap`` have no effect: the graph is kept.

    Returns:
        The estimate.

    Raises:
        MetaftError: if the rule has no torch.optim counterpart that ``higher`` knows and runs alike.
    """
    inner, params, trains, batch = problem.inner, problem.params, problem.trains, problem.batch
    import higher

    if type(inner.rule) not in OPTIMISERS or learned(params):
        raise MetaftError(
            "engine 'higher' takes the rules SGD, Momentum, Adam, RMSProp and TorchOptimiser, not "
            f"{type(inner.rule).__name__}; use engine 'eager'"
        )
    if problem.diagnose:
        raise MetaftError("engine 'higher' keeps no adjoint to diagnose; use engine 'eager'")
    make = OPTIMISERS[type(inner.rule)](inner.rule)
    losses, total = [], {n: torch.zeros_like(params[n]) for n in trains}
    with torch.enable_grad():
        for task in range(batch.tasks):
            support_x, support_y, query_x, query_y = (t[task] for t in batch.tensors())
            leaves = {n: p.detach().clone().requires_grad_() for n, p in params.items()}
            adapting = inner.start(leaves)
            names, values = list(adapting), list(adapting.values())
            try:
                optimiser = higher.optim.get_diff_optim(make(values), values, track_higher_grads=exact)
            except (TypeError, ValueError) as error:
                raise MetaftError(f"higher has no differentiable version of this optimiser: {error}") from None
            if task == 0 and inner.steps and isinstance(inner.rule, TorchOptimiser):
                first = inner.value(dict(zip(names, values, strict=True)), leaves, support_x, support_y)
                _require_agreement(make, values, torch.autograd.grad(first, values, materialize_grads=True))
            for _ in range(inner.steps):
                here = dict(zip(names, values, strict=True))
                values = list(optimiser.step(inner.value(here, leaves, support_x, support_y), params=values))
            adapted = dict(zip(names, values, strict=True))
            if not exact and inner.steps:
                adapted = {n: v.detach().requires_grad_() for n, v in adapted.items()}
            loss = problem.query_loss(leaves | adapted, support_x, support_y, query_x, query_y)
            towards = {n: leaves[n] if exact or n not in adapted else adapted[n] for n in trains}
            grads = torch.autograd.grad(loss, list(towards.values()), allow_unused=True)
            for n, g in zip(towards, grads, strict=True):
                if g is not None:
                    total[n] += g.detach()
            losses.append(loss.detach())
    joined = torch.stack(losses)
    return Estimate(joined, total, joined.new_empty(0), joined.new_empty(0))


MOVES = (1.0, -0.7, 0.4)
"""Multiples of the first gradient that an optimiser and its differentiable version are both given."""
AGREEMENT = 1e-4
"""How far they may part, relative to the largest move."""


def _require_agreement(make: MakeOptimiser, values: list[Tensor], gradients: tuple[Tensor, ...]) -> None:
    """Refuse an optimiser that ``higher`` runs otherwise than torch: what it does not know it leaves out silently."""
    import higher

    start, given = ([v.detach().double() for v in of] for of in (values, gradients))
    theirs, ours = ([v.clone().requires_grad_() for v in start] for _ in range(2))
    optimiser = make(theirs)
    differentiable = higher.optim.get_diff_optim(make(ours), ours, track_higher_grads=False)
    name = type(optimiser).__name__
    for factor in MOVES:
        for value, gradient in zip(theirs, given, strict=True):
            value.grad = factor * gradient
        optimiser.step()
        loss = torch.stack([factor * (g * v).sum() for g, v in zip(given, ours, strict=True)]).sum()
        ours = list(differentiable.step(loss, params=ours))
    furthest = lambda of, others: max(float((a - b).detach().abs().max()) for a, b in zip(of, others, strict=True))
    moved, apart = furthest(theirs, start), furthest(theirs, ours)
    if not apart <= AGREEMENT * moved:
        raise MetaftError(
            f"higher's differentiable {name} does not move as torch.optim.{name} does with these options (apart by "
            f"{apart / moved if moved else apart:.1e} of the move): leave out options that it does not know, such as "
            "maximize, or take one of metaft's rules (metaft.Adam has its ε where torch has it)"
        )
