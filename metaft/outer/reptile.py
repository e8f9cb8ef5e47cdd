"""Reptile: move towards where the inner loop went (Nichol et al. 2018, alg. 2)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import torch

from metaft.errors import MetaftError
from metaft.inner.batching import over_tasks
from metaft.inner.objectives import Objective
from metaft.outer.checks import require_end
from metaft.outer.first_order import linearise
from metaft.outer.problem import Estimate, Problem
from metaft.outer.steps import adapted as end_of_path
from metaft.tasks.batch import TaskBatch


@dataclass(frozen=True)
class Reptile:
    """Take θ_0 − θ_K for the gradient, without any derivative of the inner loop.

    As in the paper the inner loop sees all of a task's examples, support and query alike; the loss reported is of
    the query set after that, so it is a training loss. The paper's outer step ε(θ_K − θ_0) is SGD of rate ε on this.

    All that trains must adapt, and K ≥ 1; ``memory`` has no effect.
    """

    name: ClassVar[str] = "reptile"
    without_path: ClassVar[str] = "moves towards where the inner loop ends, and differentiates nothing"
    compiles_whole: ClassVar[bool] = True
    in_higher: ClassVar[bool | None] = None
    pulls_after: ClassVar[bool] = False

    def check(self, steps: int, objective: Objective, adapts: Collection[str], trains: Collection[str]) -> None:
        """Refuse learned rates, an inner loop without steps, and parameters that train and do not adapt."""
        require_end(self, steps, trains)
        idle = [name for name in trains if name not in adapts]
        if idle:
            raise MetaftError(
                f"estimator 'reptile' trains only what adapts, and {idle[0]!r} does not: let meta_scope be the scope, "
                "or use another estimator"
            )

    def __call__(self, problem: Problem) -> Estimate:
        """The sum over tasks of θ_0 − θ_K."""
        inner, params, trains, batch = problem.inner, problem.params, problem.trains, problem.batch
        start = inner.start(params)
        self.check(inner.steps, inner.objective, start, trains)
        if problem.diagnose:
            raise MetaftError("estimator 'reptile' has no adjoint to diagnose")
        everything_x = torch.cat([batch.support_x, batch.query_x], dim=1)
        everything_y = torch.cat([batch.support_y, batch.query_y], dim=1)
        seen = TaskBatch(everything_x, everything_y, batch.query_x, batch.query_y, batch.keys)
        adapted = end_of_path(linearise, problem, seen)
        fixed = {n: p for n, p in params.items() if n not in start}
        of_one = lambda a, *data: problem.query_loss(fixed | a, *data)
        losses = over_tasks(of_one, (0, 0, 0, 0, 0), batch.after(problem.inner.steps).keys)(adapted, *batch.tensors())
        grads = {n: (start[n] - adapted[n]).sum(0) for n in trains}
        return Estimate(losses, grads, losses.new_empty(0), losses.new_empty(0))
