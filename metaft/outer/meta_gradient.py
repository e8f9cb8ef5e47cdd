"""One meta-gradient: all tasks of a batch at once, by the estimator, engine and number of workers of choice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Protocol

import torch
from torch import Tensor

from metaft.allocator import keep_freed_memory
from metaft.errors import MetaftError, nearest
from metaft.inner.adapt import Inner, TaskStart, network
from metaft.inner.batching import images_on_cpu, is_heavy, laid_out
from metaft.inner.objectives import Loss, Objective, TaskLoss
from metaft.inner.rules import Params, Rule
from metaft.inner.scope import select
from metaft.kept import kept as store
from metaft.outer import compiled
from metaft.outer.checks import asked_after, require_path
from metaft.outer.chunks import batched_or_alone, default_size, map_chunks
from metaft.outer.first_call import require_problem
from metaft.outer.problem import Compile, Estimate, Estimator, Problem, QueryLoss
from metaft.tables import ESTIMATORS
from metaft.tasks.batch import TaskBatch
from metaft.validate import require_count

MEMORY = ("flat", "graph", "checkpoints")
LARGE = 12
"""Parameter tensors beyond which a network takes long to compile several times over, once a step."""
ENGINES = ("eager", "compile", "higher")


@dataclass(frozen=True)
class MetaGradient:
    """What one evaluation of the meta-gradient gives.

    Args:
        loss: the mean query loss after adapting, a scalar.
        grads: its gradient, a dictionary like the meta-trained parameters.
        losses: the query loss of each task, ``[tasks]``.
        adjoint_norms: ‖v_k‖ of each task at inner step k = 0 … K, ``[K + 1, tasks]``, if diagnosed; else empty.
        residual: relative residual of each task's linear system, ``[tasks]``, for "implicit"; else empty.
        gathered: what the forward pass gathered rather than trained, such as running statistics: the new values of
            those meta-parameters, by name.
        updated: what ``update`` told, if there was one.
    """

    loss: Tensor
    grads: Params
    losses: Tensor
    adjoint_norms: Tensor
    residual: Tensor
    gathered: Params = field(default_factory=dict)
    updated: Tensor | None = None


class Update(Protocol):
    """What is made of a meta-gradient: an optimiser's step, say, compiled with it."""

    def __call__(self, params: Params, loss: Tensor, grads: Params, kept: Any) -> Tensor:
        """Change ``params`` and what is kept from update to update in place, and tell something of it."""
        ...


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
    estimate: Callable[[Problem], Estimate] = (
        part := estimator_of(estimator, solver_iterations) if isinstance(estimator, str) else estimator
    )
    _check("memory", memory, MEMORY)
    _check("engine", engine, ENGINES)
    require_count(steps, "inner steps")
    require_count(workers, "workers", 1)
    require_count(1 if chunk is None else chunk, "chunk", 1)
    begun = begin.names if begin else ()
    fixed = tuple(n for n in params if n in frozen or n in _not_required(params))
    adapts, trains = resolve((*params, *begun), scope, meta_scope, begun, per_step, fixed)
    missing = [n for n in _learned_names(rule, adapts) if n not in params]  # type: ignore[arg-type]
    if missing:
        raise MetaftError(
            f"the rule learns {missing[0]!r}, which params lacks: pass params | rule.learned(adapting params)"
        )
    require_problem(loss, query_loss, params, batch, whole=begin is None and not per_step)
    inner = Inner(loss, rule, steps, adapts, objective or TaskLoss(), begin, per_step)
    asked, weights = asked_after(step_weights, steps, next(iter(params.values())))
    require_path(part, engine, inner, weights is not None)
    if engine == "higher":
        estimate = _through_higher(bool(part.in_higher))
    compiling = engine == "compile"
    # Over several steps a large network is compiled piece by piece: a step, its way back, the query pass. That takes
    # the same time whatever K.
    stepwise = compiling and steps > 1 and memory != "graph"
    piecewise = stepwise and (
        batch.query_x.dim() >= 5 or len(network(params)) > LARGE or is_heavy(batch.query_x, params)
    )
    compile_it = compiled.compile_if_small if images_on_cpu(batch.query_x) else compiled.compile_if_possible
    wrap = compile_it if piecewise else None
    setting = (inner, query_loss, estimate, memory, trains, diagnose, wrap, asked)
    make = lambda: _partial_sum(*setting)
    # Compiled, one function a setting, so that compiling it once is enough; it goes when the loss goes.
    partial_sum = store(loss).once((_partial_sum, *setting), make) if compiling else make()
    weighted = () if weights is None else (weights,)
    if batch.query_x.device.type == "cpu":
        keep_freed_memory()
    laid, drawn = laid_out({n: p.detach() for n, p in params.items()}, batch.drawn())

    def of_chunks(size: int) -> MetaGradient:
        # How long conjugate gradients run, say, depends on the data.
        whole_graph = compiling and not piecewise and part.compiles_whole
        if whole_graph and 0 < drawn.tasks <= size:  # all tasks in one chunk: the mean is compiled with the rest
            # Images are laid out anew, and computed twice the first time: what is changed in place would be another's.
            inside = None if images_on_cpu(drawn.query_x) else update
            whole = store(loss).once(
                (_mean_of_all, partial_sum, trains, inside),
                lambda: compile_it(_mean_of_all(partial_sum, trains, inside)),
            )
            carried = () if inside is None else kept
            out = map_chunks(lambda c: whole(laid, carried, weighted, *c.parts()), drawn, workers, size)[0]
            return _updated(out, params, update, kept) if inside is None else out
        job = compile_it(partial_sum) if whole_graph else partial_sum
        parts = map_chunks(lambda c: job(laid, weighted, *c.parts()), drawn, workers, size)
        return _updated(_mean(parts, trains, drawn.tasks), params, update, kept)

    return batched_or_alone(loss, drawn.tasks, chunk or default_size(drawn, params), of_chunks)


def _updated(out: MetaGradient, params: Params, update: Update | None, kept: Any) -> MetaGradient:
    """The same, and what an update made of it that is not compiled with it."""
    if update is None:
        return out
    with torch.no_grad():
        return replace(out, updated=update(params, out.loss, out.grads, kept))


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


PartialSum = Callable[..., Estimate]


def _partial_sum(
    inner: Inner,
    query_loss: QueryLoss | None,
    estimator: Callable[[Problem], Estimate],
    memory: str,
    trains: tuple[str, ...],
    diagnose: bool,
    wrap: Compile | None,
    after: tuple[int, ...] | None,
) -> PartialSum:
    """The estimator with its settings bound."""

    def asked(params: Params, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        own = network(params)
        if query_loss is None:
            return inner.loss(own, query_x, query_y)
        return query_loss(own, support_x, support_y, query_x, query_y)

    def partial_sum(params: Params, weights: tuple[Tensor, ...], *parts: Tensor) -> Estimate:
        weighted = None if after is None else dict(zip(after, weights[0], strict=True))
        return estimator(Problem(inner, asked, params, trains, TaskBatch(*parts), memory, diagnose, wrap, weighted))

    return partial_sum


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


@lru_cache(maxsize=2)
def _through_higher(exact: bool) -> Callable[[Problem], Estimate]:
    from metaft.outer.through_higher import through_higher

    return partial(through_higher, exact)


def _mean_of_all(partial_sum: PartialSum, names: tuple[str, ...], update: Update | None) -> Callable[..., MetaGradient]:
    """The mean where all tasks are one chunk, and what is made of it."""

    def mean_of_all(params: Params, kept: Any, weights: tuple[Tensor, ...], *parts: Tensor) -> MetaGradient:
        out = _mean([partial_sum(params, weights, *parts)], names, parts[0].shape[0])
        if update is None:
            return out
        return replace(out, updated=update(params, out.loss, out.grads, kept))

    return mean_of_all


def _mean(parts: list[Estimate], names: tuple[str, ...], tasks: int) -> MetaGradient:
    """The sum of all chunks' gradients, in their order, over the number of tasks; and what is told of each task."""
    total = [parts[0].grads[name] for name in names]
    if total:
        for part in parts[1:]:
            total = list(torch._foreach_add(total, [part.grads[name] for name in names]))
        total = list(torch._foreach_div(total, tasks))
    grads = {name: gradient.contiguous() for name, gradient in zip(names, total, strict=True)}
    losses = _joined([part.losses for part in parts])
    norms, residual = _joined([p.norms for p in parts], dim=-1), _joined([p.residual for p in parts])
    return MetaGradient(losses.mean(), grads, losses, norms, residual)


def _joined(parts: list[Tensor], dim: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)


def _check(what: str, given: str, known: Collection[str]) -> None:
    if given not in known:
        raise MetaftError(f"unknown {what} {given!r}{nearest(given, known)}")
