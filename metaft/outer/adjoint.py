"""The meta-gradient as an adjoint: the reverse pass of K inner steps, written once for all estimators.

An inner step is g_k = ∇_θ J(θ_k; φ) followed by (θ_{k+1}, s_{k+1}) = rule(θ_k, s_k, g_k; ρ), with φ all that does not
adapt and ρ what the rule learns. With v_K = ∇ L_query at θ_K, the reverse pass applies the rule's transposed
Jacobian, which gives v_k in part and the cotangent w_k of g_k, and adds H_kᵀ w_k, the Hessian-vector product. For SGD
that is v_k = v_{k+1} − α H_k v_{k+1} (Finn et al. 2017, §2.2; as a reverse pass, Maclaurin et al. 2015, alg. 2).
The estimators differ in that product alone, which is what they hand to ``reverse_pass``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import vjp
from torch.utils._pytree import tree_map

from metaft.inner.adapt import Inner, learned
from metaft.inner.rules import Params, State
from metaft.inner.tasks import over_tasks
from metaft.outer.problem import Estimate, Problem, QueryLoss, Wrap
from metaft.tasks.batch import TaskBatch

Pullback = Callable[[Params], tuple[Params, Params]]


class Linearise(Protocol):
    """The inner gradient of all tasks at a point, and a product with its transposed Jacobian there.

    Called with ``(inner, batch, shared, adapting, live, fixed)``: ``live`` are the meta-parameters besides the
    adapting ones towards which a product is wanted, ``fixed`` the others. Returns the gradient and
    ``w → (product towards adapting, product towards live)``.
    """

    def __call__(
        self, inner: Inner, batch: TaskBatch, shared: bool, adapting: Params, live: Params, fixed: Params
    ) -> tuple[Params, Pullback]:
        """Linearise the inner gradient."""
        ...


def query_gradient(
    query_loss: QueryLoss, batch: TaskBatch, shared: bool, adapting: Params, live: Params, fixed: Params
) -> tuple[Tensor, Params, Params]:
    """The query loss of each task, with its gradient.

    Args:
        query_loss: ``query_loss(params, support_x, support_y, query_x, query_y) → scalar`` of one task.
        batch: the tasks.
        shared: whether ``adapting`` is one set for all tasks; then its gradient is summed over tasks.
        adapting: adapted parameters, stacked over tasks unless shared.
        live: further parameters towards which a gradient is wanted.
        fixed: the rest.

    Returns:
        Losses ``[tasks]``, and the gradients of their sum towards ``adapting`` and ``live``.
    """

    def of_one(adapting: Params, live: Params, *data: Tensor) -> Tensor:
        return query_loss(fixed | live | adapting, *data)

    of_tasks = over_tasks(of_one, (None if shared else 0, None, 0, 0, 0, 0))
    losses, pull = vjp(lambda a, b: of_tasks(a, b, *batch.tensors()), adapting, live)[:2]
    return losses, *pull(torch.ones_like(losses))


@dataclass(frozen=True)
class Pieces:
    """The three computations of the reverse pass as pure functions of tensors, by whether parameters are shared.

    Compiling these, and not the loop around them, takes the same time whatever K.

    Args:
        gradient: ``(adapting, params, support_x, support_y) → inner gradients``.
        product: ``(adapting, live, fixed, cotangent, *batch) → (product towards adapting, towards live)``.
        query: ``(adapting, live, fixed, *batch) → (losses, gradient towards adapting, towards live)``.
    """

    gradient: dict[bool, Callable[..., Params]]
    product: dict[bool, Callable[..., tuple[Params, Params]]]
    query: dict[bool, Callable[..., tuple[Tensor, Params, Params]]]


def pieces_of(linearise: Linearise, inner: Inner, query_loss: QueryLoss, wrap: Wrap) -> Pieces:
    """The pieces for one setting.

    Args:
        linearise: the estimator's Hessian-vector product.
        inner: the inner loop.
        query_loss: the query loss of one task.
        wrap: what is done to each function: compiling it, say.

    Returns:
        The pieces.
    """

    def gradient(shared: bool) -> Callable[..., Params]:
        return lambda adapting, params, x, y: inner.gradient(x, y, shared)(adapting, params)

    def product(shared: bool) -> Callable[..., tuple[Params, Params]]:
        return lambda adapting, live, fixed, cotangent, *data: linearise(
            inner, TaskBatch(*data), shared, adapting, live, fixed
        )[1](cotangent)

    def query(shared: bool) -> Callable[..., tuple[Tensor, Params, Params]]:
        return lambda adapting, live, fixed, *data: query_gradient(
            query_loss, TaskBatch(*data), shared, adapting, live, fixed
        )

    both = (True, False)
    return Pieces(*({shared: wrap(make(shared)) for shared in both} for make in (gradient, product, query)))


# One set of functions a setting, so that each is compiled only once.
_kept_pieces: Callable[..., Pieces] = lru_cache(maxsize=64)(pieces_of)


def reverse_pass(linearise: Linearise, keep: bool, problem: Problem) -> Estimate:
    """Run the inner loop forward, then the adjoint backward.

    With ``memory="flat"`` the K parameter vectors (and rule states) are kept and each step is linearised again when its
    turn comes; activations of one step exist at a time, whatever K. The last step's are kept from the forward
    pass: that costs nothing at the peak, and at K = 1 nothing is computed twice. ``"checkpoints"`` keeps only every
    √K-th vector and runs the stretch between two of them again. ``"graph"`` keeps every step's activations.

    Args:
        linearise: the estimator's Hessian-vector product.
        keep: whether its pullback holds no activations, so that keeping it is as good as keeping the vector.
        problem: what is asked. With ``diagnose`` every step is taken by every task on its own; otherwise parameters are
            shared in the first, and a single task shares them with itself in all. With ``wrap`` no activations are kept
            at all, so ``memory`` cannot be "graph".

    Returns:
        The estimate.
    """
    inner, params, trains, batch = problem.inner, problem.params, problem.trains, problem.batch
    query_loss, memory, diagnose, wrap = problem.query_loss, problem.memory, problem.diagnose, problem.wrap
    made = _kept_pieces if wrap else pieces_of
    pieces = made(linearise, inner, query_loss, wrap or _as_it_is)
    steps, rates = inner.steps, learned(params)
    start = inner.start(params)
    # What does not adapt but trains, and the start where the objective depends on it.
    live = {n: p for n, p in params.items() if n in trains and n not in rates and n not in start}
    if inner.objective.uses_start:
        live |= start
    fixed = {n: p for n, p in params.items() if n not in live}
    shared_first, single = not diagnose, batch.tasks == 1 and not diagnose

    def shared(k: int) -> bool:
        return single or (k == 0 and shared_first)

    def gradient(k: int, adapting: Params) -> Params:
        return pieces.gradient[shared(k)](adapting, params, batch.support_x, batch.support_y)

    def linearised(k: int, adapting: Params) -> tuple[Params, Pullback]:
        if wrap is None:
            return linearise(inner, batch, shared(k), adapting, live, fixed)
        product = pieces.product[shared(k)]
        # Only the rule's Jacobian may need the gradient once more, and SGD's does not.
        grads = gradient(k, adapting) if inner.rule.uses_gradient else _zeros_like(adapting, batch.tasks, shared(k))
        return grads, lambda w: product(adapting, live, fixed, w, *batch.tensors())

    def move(k: int) -> Callable[[Params, State, Params, Params], tuple[Params, State]]:
        step = inner.move(k, shared(k))
        return (lambda *args: tree_map(lambda v: v.squeeze(0), step(*args))) if single else step

    adapting = start if shared_first else _per_task(start, batch.tasks)
    state = inner.rule.init(adapting)
    stride = max(1, math.isqrt(steps)) if memory == "checkpoints" and not keep else 1
    points: dict[int, tuple[Params, State]] = {}
    kept: dict[int, tuple[Params, Pullback]] = {}
    for k in range(steps):
        if k % stride == 0 or k == steps - 1:
            points[k] = adapting, state
        if wrap is None and (keep or memory == "graph" or k == steps - 1):
            kept[k] = linearised(k, adapting)
            grads = kept[k][0]
        else:
            grads = gradient(k, adapting)
        adapting, state = move(k)(adapting, state, grads, rates)

    losses, adjoint, towards_live = pieces.query[single or (shared(0) and steps == 0)](
        adapting,
        {n: p for n, p in live.items() if n not in start},
        {n: p for n, p in params.items() if n not in live and n not in rates and n not in start},
        *batch.tensors(),
    )
    total = {n: g.clone() for n, g in towards_live.items()} | {n: torch.zeros_like(p) for n, p in rates.items()}
    of_state = {kind: {n: torch.zeros_like(s) for n, s in part.items()} for kind, part in state.items()}
    norms = [_norms(adjoint)] if diagnose else []
    del adapting, state
    for k in reversed(range(steps)):
        if k not in points:  # run the stretch from the checkpoint before it again
            first = k - k % stride
            at = points[first]
            for j in range(first, k):
                at = move(j)(*at, gradient(j, at[0]), rates)
                points[j + 1] = at
        adapting, state = points.pop(k)
        grads, pull = kept.pop(k) if k in kept else linearised(k, adapting)
        through_rule = vjp(move(k), adapting, state, grads, rates)[1]
        adjoint, of_state, of_grads, of_rates = through_rule((adjoint, of_state))
        product, of_live = pull(of_grads)
        adjoint = {n: v + product[n] for n, v in adjoint.items()}
        for n, v in (of_live | of_rates).items():
            total[n] = total[n] + v if n in total else v
        if diagnose:
            norms.append(_norms(adjoint))
    if diagnose:
        adjoint = {n: v.sum(0) for n, v in adjoint.items()}
    for n, v in adjoint.items():
        total[n] = total[n] + v if n in total else v
    trained = {n: total[n] for n in trains}
    return Estimate(losses, trained, torch.stack(norms[::-1]) if norms else losses.new_empty(0), losses.new_empty(0))


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _zeros_like(params: Params, tasks: int, shared: bool) -> Params:
    """Zeros in the shape of every task's gradients, without their memory."""
    return {n: p.new_zeros(()).expand(tasks, *(p.shape if shared else p.shape[1:])) for n, p in params.items()}


def _per_task(params: Params, tasks: int) -> Params:
    return {n: p.expand(tasks, *p.shape) for n, p in params.items()}


def _norms(adjoint: Params) -> Tensor:
    """‖v‖ of each task over all parameters, ``[tasks]``."""
    return torch.stack([v.flatten(1).square().sum(1) for v in adjoint.values()]).sum(0).sqrt()
