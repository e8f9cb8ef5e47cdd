"""The meta-gradient as a function of a loss, meta-parameters and tasks: what adapts and what trains, by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import torch

from metaft.errors import MetaftError
from metaft.inner.adapt import Inner, TaskStart, network
from metaft.inner.objectives import Loss, Objective, TaskLoss
from metaft.inner.rules import Params, Rule
from metaft.inner.scope import select
from metaft.outer.mean_gradient import MetaGradient, Update, mean_gradient
from metaft.outer.problem import Compute, Estimator, Outer, QueryLoss
from metaft.tables import ESTIMATORS
from metaft.tasks.batch import TaskBatch
from metaft.validate import require_count


def meta_gradient(
    loss: Loss,
    params: Params,
    batch: TaskBatch,
    *,
    rule: Rule,
    steps: int,
    estimator: str | Estimator = "exact",
    memory: str = "flat",
    scope: str = "all",
    meta_scope: str = "all,rates",
    objective: Objective | None = None,
    query_loss: QueryLoss | None = None,
    step_weights: Sequence[float] | None = None,
    begin: TaskStart | None = None,
    per_step: tuple[str, ...] = (),
    engine: str = "eager",
    workers: int = 1,
    chunk: int | None = None,
    frozen: Collection[str] = (),
    solver_iterations: int | None = None,
    diagnose: bool = False,
    update: Update | None = None,
    kept: Any = (),
) -> MetaGradient:
    """Differentiate the mean query loss after K inner steps with respect to the initial parameters.

    Args:
        loss: ``loss(params, x, y) → scalar``, the loss of one task's examples.
        params: the meta-parameters, ``dict[str, Tensor]``; for a rule with learned rates, ``rule.learned(params)`` too.
            Where some require a gradient, as a module's parameters do, those that do not are frozen.
        batch: the tasks, on a leading axis. Random layers draw by its ``keys``; without keys they draw anew each call,
            after torch's own generator.
        rule: the inner rule, ``metaft.SGD(lr=0.01)`` for instance.
        steps: inner steps K ≥ 0.
        estimator: "exact" (full Hessian), "first-order", "finite-difference", "implicit" or "reptile", with options as
            in "implicit:iterations=5"; or one of your own.
        memory: "flat" (inner steps are run again in the reverse pass: activations do not grow with K), "checkpoints"
            (nor, but for √K of them, do the parameter vectors) or "graph" (everything is kept).
        scope: which parameters adapt: a role or name pattern, see ``metaft.inner.scope.select``.
        meta_scope: which are meta-trained, likewise; by default all, and learned rates.
        objective: what the inner loop descends; the loss itself if None.
        query_loss: ``query_loss(params, support_x, support_y, query_x, query_y)``, where the query loss is not just
            ``loss`` on the query set (batch norm in inductive mode, say).
        step_weights: w_0 … w_K of an outer loss Σ_k w_k L_query(θ_k); only the last step's if None. Those that are
            0 cost nothing; others may change from call to call without anything being compiled anew.
        begin: adapting parameters that each task computes from its support set, in place of meta-parameters.
        per_step: names of meta-parameters with a leading axis over steps, of which each step uses its own (see
            ``metaft.inner.adapt.Inner``). They do not adapt, whatever the scope.
        engine: "eager"; "compile" (torch.compile; worth its seconds in a loop, where ``loss`` must be the same object
            each time or everything is compiled anew); or "higher" (that library's
            differentiable optimisers, task by task: slow, for ``metaft.TorchOptimiser`` and as a check).
        workers: threads among which the chunks of tasks are divided; the result does not depend on it, but for rounding
            on images of 64×64 and more, where operators have these threads. With more than one, ``loss`` must be safe
            to call from several threads: ``metaft.models.Functional`` is, ``torch.func.functional_call`` on one module
            is not.
        chunk: tasks computed together; chosen from the shape of an example if None. What cannot be batched (an ``if``
            on values, a buffer that changes with the data) is computed task by task, which is said once.
        frozen: names that neither adapt nor are trained, whatever the scopes.
        solver_iterations: the same as "implicit:iterations=…".
        diagnose: record the adjoint's norm at every inner step.
        update: what to do with loss and gradient at the end, a function of tensors, which may change ``params`` and
            ``kept`` in place. Where all is one compiled graph it is part of that: hashable then, and equal at each
            call, or everything is compiled anew.
        kept: tensors, or tuples and dictionaries of them, that ``update`` is given.

    Returns:
        Loss, gradients and the loss of each task; and what ``update`` told.

    Raises:
        MetaftError: if an option is unknown, a scope matches nothing, the parts do not go together, or steps < 0.
    """
    compute = Compute(engine, memory, workers, chunk)
    require_count(steps, "inner steps")
    part = estimator_of(estimator, solver_iterations) if isinstance(estimator, str) else estimator
    begun = begin.names if begin else ()
    fixed = tuple(n for n in params if n in frozen or n in _not_required(params))
    adapts, trains = resolve((*params, *begun), scope, meta_scope, begun, per_step, fixed)
    missing = [n for n in _learned_names(rule, adapts) if n not in params]  # type: ignore[arg-type]
    if missing:
        raise MetaftError(
            f"the rule learns {missing[0]!r}, which params lacks: pass params | rule.learned(adapting params)"
        )
    inner = Inner(loss, rule, steps, adapts, objective or TaskLoss(), begin, per_step)
    outer = Outer(part, trains, query_loss, None if step_weights is None else tuple(step_weights))
    return mean_gradient(inner, outer, compute, params, batch, diagnose=diagnose, update=update, kept=kept)


def _not_required(params: Params) -> tuple[str, ...]:
    """Of parameters that differ in it, those that require no gradient; what a rule learns is asked for elsewhere."""
    own = network(params)
    wanted = {n for n, p in own.items() if p.requires_grad}
    return tuple(n for n in own if n not in wanted) if wanted else ()


@lru_cache(maxsize=256)
def resolve(
    names: tuple[str, ...],
    scope: str,
    meta_scope: str,
    begun: tuple[str, ...] = (),
    per_step: tuple[str, ...] = (),
    frozen: tuple[str, ...] = (),
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names that adapt and the names that are meta-trained.

    Args:
        names: of all meta-parameters, and of what begins from the support set.
        scope: what adapts.
        meta_scope: what is meta-trained; "rates" in it stands for none where the rule learns nothing.
        begun: which of the names begin from the support set; they adapt, and are not meta-trained.
        per_step: which are learned for each step; they do not adapt.
        frozen: which do neither.

    Returns:
        Both, in the order of ``names``.

    Raises:
        MetaftError: if a part of a scope matches nothing, or leaves out what has to adapt.
    """
    has_rates = len(network(dict.fromkeys(names))) < len(names)  # type: ignore[arg-type]
    parts = [p for p in meta_scope.split(",") if has_rates or p.strip() != "rates"]
    adapts = tuple(n for n in select(names, scope) if n not in per_step and n not in frozen)
    trains = tuple(n for n in select(names, ",".join(parts) or "none") if n not in begun and n not in frozen)
    if frozen and not adapts and scope != "none":
        raise MetaftError(
            f"scope {scope!r} names frozen parameters alone ({frozen[0]!r}, …), which do not adapt; let them require a "
            "gradient, or choose another scope"
        )
    if per_step and not adapts:
        raise MetaftError(
            f"scope {scope!r} leaves nothing that adapts: {per_step[0]!r} is learned for each step instead"
        )
    idle = [n for n in begun if n not in adapts]
    if idle:
        raise MetaftError(
            f"scope {scope!r} leaves out {idle[0]!r}, which begins from each task's support set and so has to adapt; "
            f"add it: '{scope},{idle[0]}'"
        )
    if begun and not trains:
        raise MetaftError(f"meta_scope {meta_scope!r} leaves nothing to train: {begun[0]!r} is no meta-parameter here")
    return adapts, trains


@lru_cache(maxsize=256)
def _learned_names(rule: Rule, adapts: tuple[str, ...]) -> tuple[str, ...]:
    """What the rule learns, by name alone: its rates are not made anew each call."""
    return tuple(rule.learned({name: torch.empty(0) for name in adapts}))


@lru_cache(maxsize=64)
def estimator_of(text: str, iterations: int | None = None) -> Estimator:
    """An estimator by name, the same object for the same text, so that what is compiled with it is compiled once.

    Args:
        text: such as "exact" or "implicit:iterations=5".
        iterations: of the solver, for an estimator that has one; None for its own.

    Returns:
        The estimator.

    Raises:
        MetaftError: if the name or an option is unknown, or a value out of range.
    """
    more = {} if iterations is None else {"iterations": iterations}
    return ESTIMATORS.make(text, **more)
