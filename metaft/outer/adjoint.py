"""The meta-gradient as an adjoint: the reverse pass of K inner steps, written once for all estimators.

An inner step is g_k = ∇_θ J(θ_k; φ) followed by (θ_{k+1}, s_{k+1}) = rule(θ_k, s_k, g_k; ρ), with φ all that does not
adapt and ρ what the rule learns. With v_K = ∇ L_query at θ_K, the reverse pass applies the rule's transposed
Jacobian, which gives v_k in part and the cotangent w_k of g_k, and adds H_kᵀ w_k, the Hessian-vector product. For SGD
that is v_k = v_{k+1} − α H_k v_{k+1} (Finn et al. 2017, §2.2; as a reverse pass, Maclaurin et al. 2015, alg. 2).
The estimators differ in that product alone, which is what they hand to ``reverse_pass``.

Three things may be added. Where the outer loss is Σ_k w_k L_query(θ_k) (Antoniou et al. 2019, eq. 4), v_k also has
w_k ∇ L_query at θ_k. Where θ_0 begins in part from the support set, v_0 is pulled back through that. And a step may
use a part of φ of its own, which then gets that step's products alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp
from torch.utils._pytree import tree_map

from metaft.inner.adapt import learned, network, per_task
from metaft.inner.rules import Params, State
from metaft.outer.pieces import Linearise, Pullback, kept_pieces, pieces_of
from metaft.outer.problem import Estimate, Problem


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
    memory, diagnose, wrap = problem.memory, problem.diagnose, problem.wrap
    pieces = (kept_pieces if wrap else pieces_of)(linearise, inner, problem.query_loss, wrap or _as_it_is)
    steps, rates = inner.steps, learned(params)
    weights: dict[int, Any] = problem.weights or {steps: None}
    start = inner.start(params)
    # What does not adapt but trains, and the start where the objective depends on it.
    live = {n: p for n, p in params.items() if n in trains and n not in rates and n not in start}
    if inner.objective.uses_start:
        live |= start
    fixed = {n: p for n, p in params.items() if n not in live}
    of_query = {n: p for n, p in live.items() if n not in start}
    at_query = {n: p for n, p in network(fixed).items() if n not in start}
    shared_first, single = inner.begin is None and not diagnose, batch.tasks == 1 and not diagnose

    def shared(k: int) -> bool:
        return single or (k == 0 and shared_first)

    def gradient(k: int, adapting: Params) -> Params:
        return pieces.gradient[shared(k)](adapting, inner.at_step(k, params), batch.support_x, batch.support_y)

    def linearised(k: int, adapting: Params) -> tuple[Params, Pullback]:
        now, then = inner.at_step(k, live), inner.at_step(k, fixed)
        if wrap is None:
            return linearise(inner, batch, shared(k), adapting, now, then)
        product = pieces.product[shared(k)]
        # Only the rule's Jacobian may need the gradient once more, and SGD's does not.
        grads = gradient(k, adapting) if inner.rule.uses_gradient else _zeros_like(adapting, batch.tasks, shared(k))
        return grads, lambda w: product(adapting, now, then, w, *batch.tensors())

    def move(k: int) -> Callable[[Params, State, Params, Params], tuple[Params, State]]:
        if not single:
            return inner.move(k, shared(k))

        def step(adapting: Params, state: State, grads: Params, rates: Params) -> tuple[Params, State]:
            return inner.rule.step(k, adapting, state, {n: g.squeeze(0) for n, g in grads.items()}, rates)

        return step

    def query(k: int, adapting: Params) -> tuple[Tensor, Params, Params]:
        now, then = inner.after(k, of_query), inner.after(k, at_query)
        found, weight = pieces.query[shared(k)](adapting, now, then, *batch.tensors()), weights[k]
        return found if weight is None else tree_map(lambda v: weight * v, found)

    def add(part: Params, k: int | None = None) -> None:
        for n, v in part.items():
            if k is not None and n in inner.per_step:
                at = inner.place(k, params[n])
                total[n] = total[n].select_scatter(total[n][at] + v, 0, at)
            else:
                total[n] = total[n] + v if n in total else v

    adapting = start if shared_first or single else per_task(start, batch.tasks)
    if inner.begin:
        begun = pieces.begun(params, batch.support_x, batch.support_y)
        adapting = adapting | ({n: v.squeeze(0) for n, v in begun.items()} if single else begun)
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

    losses, adjoint, towards_live = query(steps, adapting)
    total = {n: torch.zeros_like(p) for n, p in params.items() if n in rates or (n in live and n in inner.per_step)}
    add(towards_live, max(steps - 1, 0))
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
        add(of_live, k)
        add(of_rates, k)
        if k in weights:
            earlier, towards_adapting, towards_live = query(k, adapting)
            losses, adjoint = losses + earlier, {n: v + towards_adapting[n] for n, v in adjoint.items()}
            add(towards_live, max(k - 1, 0))
        if diagnose:
            norms.append(_norms(adjoint))
    if inner.begin:
        cotangent = {n: adjoint.pop(n).unsqueeze(0) if single else adjoint.pop(n) for n in inner.begin.names}
        own, rest = ({n: p for n, p in network(params).items() if (n in trains) == to} for to in (True, False))
        add(pieces.begin(batch.support_x, batch.support_y, own, rest, cotangent))
    add(adjoint if shared_first or single else {n: v.sum(0) for n, v in adjoint.items()})
    trained = {n: total[n] for n in trains}
    return Estimate(losses, trained, torch.stack(norms[::-1]) if norms else losses.new_empty(0), losses.new_empty(0))


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _zeros_like(params: Params, tasks: int, shared: bool) -> Params:
    """Zeros in the shape of every task's gradients, without their memory."""
    return {n: p.new_zeros(()).expand(tasks, *(p.shape if shared else p.shape[1:])) for n, p in params.items()}


def _norms(adjoint: Params) -> Tensor:
    """‖v‖ of each task over all parameters, ``[tasks]``."""
    return torch.stack([v.flatten(1).square().sum(1) for v in adjoint.values()]).sum(0).sqrt()
