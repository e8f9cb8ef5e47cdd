"""The mean over a batch's tasks of what an estimator finds: chunks of tasks, compiled or not, among threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Protocol

import torch
from torch import Tensor

from metaft.allocator import keep_freed_memory
from metaft.inner.adapt import Inner, network
from metaft.inner.batching import images_on_cpu, is_heavy, laid_out
from metaft.inner.rules import Params
from metaft.kept import kept as store
from metaft.outer import compiled
from metaft.outer.checks import asked_after, require_path
from metaft.outer.chunks import batched_or_alone, default_size, map_chunks
from metaft.outer.first_call import require_problem
from metaft.outer.problem import Compile, Compute, Estimate, Outer, Problem, QueryLoss
from metaft.tasks.batch import TaskBatch

LARGE = 12
"""Parameter tensors beyond which a network takes long to compile several times over, once a step."""


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


def mean_gradient(
    inner: Inner,
    outer: Outer,
    compute: Compute,
    params: Params,
    batch: TaskBatch,
    *,
    diagnose: bool = False,
    update: Update | None = None,
    kept: Any = (),
) -> MetaGradient:
    """The meta-gradient from its parts, the mean over a batch's tasks.

    Args:
        inner: the inner loop; its names are among those of ``params``.
        outer: what is differentiated, and how.
        compute: the engine, its memory and workers.
        params: the meta-parameters.
        batch: the tasks, on a leading axis.
        diagnose: record the adjoint's norm at every inner step.
        update: what to do with loss and gradient at the end, see ``metaft.meta_gradient``.
        kept: tensors, or tuples and dictionaries of them, that ``update`` is given.

    Returns:
        Loss, gradients and the loss of each task; and what ``update`` told.

    Raises:
        MetaftError: if the parts do not go together, or the tasks do not go with them.
    """
    loss, engine, steps, part, trains = inner.loss, compute.engine, inner.steps, outer.estimator, outer.trains
    require_problem(loss, outer.query_loss, params, batch, whole=inner.begin is None and not inner.per_step)
    asked, weights = asked_after(outer.step_weights, steps, next(iter(params.values())))
    require_path(part, engine, inner, weights is not None)
    estimate: Callable[[Problem], Estimate] = _through_higher(bool(part.in_higher)) if engine == "higher" else part
    compiling = engine == "compile"
    # Over several steps a large network is compiled piece by piece: a step, its way back, the query pass. That takes
    # the same time whatever K.
    stepwise = compiling and steps > 1 and compute.memory != "graph"
    piecewise = stepwise and (
        batch.example_layout == "images" or len(network(params)) > LARGE or is_heavy(batch, params)
    )
    compile_it = compiled.compile_if_small if images_on_cpu(batch) else compiled.compile_if_possible
    wrap = compile_it if piecewise else None
    setting = (inner, outer.query_loss, estimate, compute.memory, trains, diagnose, wrap, asked)
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
            inside = None if images_on_cpu(drawn) else update
            whole = store(loss).once(
                (_mean_of_all, partial_sum, trains, inside),
                lambda: compile_it(_mean_of_all(partial_sum, trains, inside)),
            )
            carried = () if inside is None else kept
            out = map_chunks(lambda c: whole(laid, carried, weighted, *c.parts()), drawn, compute.workers, size)[0]
            return _updated(out, params, update, kept) if inside is None else out
        job = compile_it(partial_sum) if whole_graph else partial_sum
        parts = map_chunks(lambda c: job(laid, weighted, *c.parts()), drawn, compute.workers, size)
        return _updated(_mean(parts, trains, drawn.tasks), params, update, kept)

    return batched_or_alone(loss, drawn.tasks, compute.chunk or default_size(drawn, params), of_chunks)


def _updated(out: MetaGradient, params: Params, update: Update | None, kept: Any) -> MetaGradient:
    """The same, and what an update made of it that is not compiled with it."""
    if update is None:
        return out
    with torch.no_grad():
        return replace(out, updated=update(params, out.loss, out.grads, kept))


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
