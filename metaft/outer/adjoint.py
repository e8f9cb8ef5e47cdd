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

import torch
from torch import Tensor

from metaft.inner.rules import Params, State
from metaft.outer.pieces import Linearise
from metaft.outer.problem import Estimate, Problem
from metaft.outer.steps import Linear, Steps, Total


def reverse_pass(linearise: Linearise, keep: bool, problem: Problem, constant: bool = False) -> Estimate:
    """Run the inner loop forward, then the adjoint backward.

    With ``memory="flat"`` the K parameter vectors (and rule states) are kept and each step is linearised again when its
    turn comes; activations of one step exist at a time, whatever K. The last step's are kept from the forward
    pass: that costs nothing at the peak, and at K = 1 nothing is computed twice. ``"checkpoints"`` keeps only every
    √K-th vector and runs the stretch between two of them again. ``"graph"`` keeps every step's activations.

    Args:
        linearise: the estimator's Hessian-vector product.
        keep: whether its pullback holds no activations, so that keeping it is as good as keeping the vector.
        constant: whether its product is zero. A rule that only adds to the parameters then passes the adjoint on as it
            is, and where nothing else is asked of the steps there is no way back: nothing is kept for it.
        problem: what is asked. With ``wrap`` no activations are kept at all, so ``memory`` cannot be "graph".

    Returns:
        The estimate.
    """
    K, steps = problem.inner.steps, Steps(linearise, problem)
    whole = keep or problem.memory == "graph"  # what linearising a step leaves behind is kept
    stride = max(1, math.isqrt(K)) if problem.memory == "checkpoints" and not keep else 1
    asks = problem.diagnose or steps.rates or set(steps.weights) != {K}
    way_back = range(0 if constant and getattr(problem.inner.rule, "only_adds", False) and not asks else K)
    points: dict[int, tuple[Params, State]] = {}
    kept: dict[int, Linear] = {}

    adapting, state = steps.begin()
    for k in range(K):
        if k in way_back and (k % stride == 0 or k == K - 1):
            points[k] = adapting, state
        if k in way_back and problem.wrap is None and (whole or k == K - 1):
            kept[k] = steps.linearised(k, adapting)
        adapting, state = steps.forward(k, adapting, state, kept.get(k))

    losses, adjoint, towards_live = steps.query(K, adapting)
    total = Total(steps)
    total.add(towards_live, max(K - 1, 0))
    of_state = {kind: {n: torch.zeros_like(s) for n, s in part.items()} for kind, part in state.items()}
    norms = [_norms(adjoint)] if problem.diagnose else []
    del adapting, state
    for k in reversed(way_back):
        if k not in points:  # run the stretch from the checkpoint before it again
            first = k - k % stride
            at = points[first]
            for j in range(first, k):
                points[j + 1] = at = steps.forward(j, *at)
        adapting, state = points.pop(k)
        adjoint, of_state, of_rates, towards_live = steps.back(k, adapting, state, adjoint, of_state, kept.pop(k, None))
        total.add(towards_live, k)
        total.add(of_rates, k)
        if k in steps.weights:
            earlier, of_adapting, towards_live = steps.query(k, adapting)
            losses, adjoint = losses + earlier, {n: v + of_adapting[n] for n, v in adjoint.items()}
            total.add(towards_live, max(k - 1, 0))
        if problem.diagnose:
            norms.append(_norms(adjoint))
    if not way_back and not steps.shared(K) and steps.shared(0):
        adjoint = {n: v.sum(0) for n, v in adjoint.items()}  # as the way back through the first, shared step would
    at_start, towards_begun = steps.through_task_start(adjoint)
    total.add(towards_begun)
    total.add(at_start)
    trained = {n: total.value[n] for n in problem.trains}
    return Estimate(losses, trained, torch.stack(norms[::-1]) if norms else losses.new_empty(0), losses.new_empty(0))


def _norms(adjoint: Params) -> Tensor:
    """‖v‖ of each task over all parameters, ``[tasks]``."""
    return torch.stack([v.reshape(len(v), -1).square().sum(1) for v in adjoint.values()]).sum(0).sqrt()
