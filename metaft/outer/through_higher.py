"""The inner loop through the library ``higher``: any differentiable torch.optim, one task after another.

Grefenstette et al. 2019. It keeps the whole graph and loops over tasks, so it is slow; it is here for optimisers that
metaft has no rule for, and as an independent check of those it has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.inner.adapt import learned
from metaft.inner.rules import SGD, Adam, Momentum, Params, State
from metaft.inner.rules.rule import Plain
from metaft.outer.problem import Estimate, Problem

MakeOptimiser = Callable[[list[Tensor]], torch.optim.Optimizer]


@dataclass(frozen=True)
class TorchOptimiser(Plain):
    """An inner rule that is one of torch.optim's, for ``engine="higher"`` alone.

    Args:
        make: ``make(params) → optimiser``, such as ``lambda p: torch.optim.RMSprop(p, lr=0.01)``; ``higher`` must
            know a differentiable version of it.
    """

    make: MakeOptimiser

    def step(self, k: int, params: Params, state: State, grads: Params, learned: Params) -> tuple[Params, State]:
        """Refused: this optimiser is a black box to the other engines.

        Raises:
            MetaftError: always.
        """
        raise MetaftError("a TorchOptimiser needs engine='higher'; the other engines take metaft's own rules")


OPTIMISERS: dict[type[Any], Callable[[Any], MakeOptimiser]] = {
    SGD: lambda rule: lambda p: torch.optim.SGD(p, rule.lr),
    Momentum: lambda rule: lambda p: torch.optim.SGD(p, rule.lr, momentum=rule.momentum),
    Adam: lambda rule: lambda p: torch.optim.Adam(p, rule.lr, (rule.beta1, rule.beta2), rule.eps),
    TorchOptimiser: lambda rule: rule.make,
}


def through_higher(exact: bool, problem: Problem) -> Estimate:
    """The meta-gradient by ``higher``'s differentiable optimisers and torch's autograd.

    Args:
        exact: full Hessians; otherwise first order.
        problem: what is asked; the rule must be SGD, Momentum, Adam or a ``TorchOptimiser``. ``memory`` and ``wrap``
            have no effect: the graph is kept.

    Returns:
        The estimate.

    Raises:
        MetaftError: if the rule has no torch.optim counterpart that ``higher`` knows.
    """
    inner, params, trains, batch = problem.inner, problem.params, problem.trains, problem.batch
    import higher

    if type(inner.rule) not in OPTIMISERS or learned(params):
        raise MetaftError(
            f"engine 'higher' takes the rules SGD, Momentum, Adam and TorchOptimiser, not {type(inner.rule).__name__}"
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
