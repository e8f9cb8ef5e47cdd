"""Implicit meta-gradient (iMAML: Rajeswaran et al. 2019): differentiate the solution, not the path to it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import vjp

from metaft.errors import MetaftError
from metaft.inner.adapt import Inner, learned, network
from metaft.inner.batching import over_tasks
from metaft.inner.objectives import L2AfterSteps, L2ToStart, Objective
from metaft.inner.rules import Params
from metaft.outer.checks import require_end
from metaft.outer.first_order import linearise
from metaft.outer.problem import Estimate, Problem
from metaft.outer.steps import adapted as end_of_path
from metaft.validate import require_count, require_positive

TOLERANCE = 1e-6
ITERATIONS = 20
DAMPING = 10.0
"""Added to λ in the authors' system."""


@dataclass(frozen=True)
class Implicit:
    """Solve (I + H/λ) g = ∇L_query by conjugate gradients at the adapted parameters (eq. 6 and alg. 2).

    It is the exact gradient of argmin_θ L(θ) + λ/2 ‖θ − θ_0‖², so it is right as far as the inner loop has arrived
    there, and its memory and cost do not depend on the path. H is the task loss's Hessian and may be indefinite:
    where the system is not positive definite along a direction, that task's iteration stops there.

    With objective ``L2AfterSteps`` it is what the authors' code computes instead: the steps know L alone, one more goes
    down the pull, and the system is damped to (2 I + H/(λ + 10)) g = ∇L_query. Parameters that are meta-trained and do
    not adapt, which they have none of, then get the same damped share.

    The objective must be an ``L2ToStart``, whose weight is λ. ``memory`` has no effect: only the last parameters are
    needed. The estimate has each task's relative residual.

    Args:
        iterations: the most conjugate-gradient iterations a task.
        tolerance: relative residual at which a task is solved.

    Raises:
        MetaftError: if one of them is out of range.
    """

    iterations: int = ITERATIONS
    tolerance: float = TOLERANCE
    name: ClassVar[str] = "implicit"
    without_path: ClassVar[str] = "differentiates the solution and not the path to it"
    compiles_whole: ClassVar[bool] = False
    in_higher: ClassVar[bool | None] = None
    pulls_after: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self.iterations, "solver_iterations", 1)
        require_positive(self.tolerance, "tolerance")

    def check(self, steps: int, objective: Objective, adapts: Collection[str], trains: Collection[str]) -> None:
        """Refuse learned rates, an inner loop without steps, and one that is not held to the start."""
        require_end(self, steps, trains)
        if not isinstance(objective, L2ToStart):
            raise MetaftError(
                "estimator 'implicit' needs the proximal objective: use objective 'l2' (metaft.L2ToStart) or 'l2-after'"
            )

    def __call__(self, problem: Problem) -> Estimate:
        """The gradient of the solution, summed over tasks."""
        inner, params, trains, batch = problem.inner, problem.params, problem.trains, problem.batch
        start = inner.start(params)
        self.check(inner.steps, inner.objective, start, trains)
        assert isinstance(inner.objective, L2ToStart)
        if problem.diagnose:
            raise MetaftError("estimator 'implicit' has no adjoint to diagnose")
        identity, curving = 1.0, 1 / inner.objective.weight
        adapted = end_of_path(linearise, problem, batch)
        if isinstance(inner.objective, L2AfterSteps):
            adapted = _pulled_back(inner, adapted, start, params, inner.objective.weight)
            identity, curving = 2.0, 1 / (inner.objective.weight + DAMPING)
        live = {n: p for n, p in params.items() if n in trains and n not in start}
        fixed = {n: p for n, p in network(params).items() if n not in start and n not in live}

        def loss_gradient(a: Params, b: Params) -> Params:
            def of_one(a: Params, b: Params, x: Tensor, y: Tensor) -> Params:
                return torch.func.grad(lambda a: inner.loss(fixed | b | a, x, y))(a)

            # One draw for all products: the system that is solved is of one function.
            return over_tasks(of_one, (0, None, 0, 0), batch.at_step(inner.steps).keys)(
                a, b, batch.support_x, batch.support_y
            )

        def query(a: Params, b: Params) -> Tensor:
            of_one = lambda a, b, *data: problem.query_loss(fixed | b | a, *data)
            return over_tasks(of_one, (0, None, 0, 0, 0, 0), batch.after(inner.steps).keys)(a, b, *batch.tensors())

        losses, pull = vjp(query, adapted, live)[:2]
        wanted, of_live = pull(torch.ones_like(losses))
        products = vjp(loss_gradient, adapted, live)[1]

        def system(v: Params) -> Params:
            return {n: identity * v[n] + curving * h for n, h in products(v)[0].items()}

        solution, residual = conjugate_gradient(system, wanted, self.tolerance, self.iterations)
        through = products(solution)[1]
        grads = {n: v.sum(0) for n, v in solution.items()} | {n: of_live[n] - curving * through[n] for n in live}
        return Estimate(losses, {n: grads[n] for n in trains}, losses.new_empty(0), residual)


def _pulled_back(inner: Inner, adapted: Params, start: Params, params: Params, weight: float) -> Params:
    """One step of the rule, from its first state, down λ/2 ‖θ − θ_0‖² alone."""
    pull = {n: weight * (value - start[n]) for n, value in adapted.items()}
    return inner.move(0, False)(adapted, inner.rule.init(adapted), pull, learned(params))[0]


def conjugate_gradient(
    system: Callable[[Params], Params], wanted: Params, tolerance: float, iterations: int
) -> tuple[Params, Tensor]:
    """Solve A x = b for every task at once (Hestenes & Stiefel 1952), A symmetric and known by its product.

    Args:
        system: ``v → A v``, stacked over tasks.
        wanted: b, stacked over tasks.
        tolerance: relative residual at which a task is solved.
        iterations: the most iterations.

    Returns:
        x, and each task's relative residual ‖b − A x‖ / ‖b‖, ``[tasks]``.
    """
    x = {n: torch.zeros_like(b) for n, b in wanted.items()}
    left, direction = dict(wanted), dict(wanted)
    size = _dot(wanted, wanted)
    scale = torch.where(size > 0, size, 1.0)
    now = size
    for _ in range(iterations):
        product = system(direction)
        curvature = _dot(direction, product)
        active = (now / scale > tolerance**2) & (curvature > 0)
        if not bool(active.any()):
            break
        along = torch.where(active, now / torch.where(active, curvature, 1.0), 0.0)
        x = {n: v + _over(along, v) * direction[n] for n, v in x.items()}
        left = {n: r - _over(along, r) * product[n] for n, r in left.items()}
        after = _dot(left, left)
        turn = torch.where(active, after / torch.where(now > 0, now, 1.0), 0.0)
        direction = {n: torch.where(_over(active, r), r + _over(turn, r) * direction[n], 0.0) for n, r in left.items()}
        now = after
    return x, (now / scale).sqrt()


def _dot(a: Params, b: Params) -> Tensor:
    return torch.stack([(a[n] * b[n]).reshape(len(a[n]), -1).sum(1) for n in a]).sum(0)


def _over(per_task: Tensor, value: Tensor) -> Tensor:
    return per_task.reshape(-1, *(1,) * (value.dim() - 1))
