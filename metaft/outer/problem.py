"""What every estimator is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from metaft.inner.adapt import Inner
from metaft.inner.rules import Params
from metaft.tasks.batch import TaskBatch

QueryLoss = Callable[[Params, Tensor, Tensor, Tensor, Tensor], Tensor]
Compile = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Problem:
    """The meta-gradient to be estimated.

    Args:
        inner: the inner loop.
        query_loss: the query loss of one task,
            ``query_loss(params, support_x, support_y, query_x, query_y) → scalar``.
        params: all meta-parameters.
        trains: names of those towards which a gradient is wanted.
        batch: the tasks.
        memory: "flat", "checkpoints" or "graph", where the path is differentiated.
        diagnose: record the adjoint's norm at each inner step, where there is an adjoint.
        wrap: compiles the pieces of a step, where the estimator has such pieces.
        weights: k → w_k, a scalar: the outer loss is Σ_k w_k L_query(θ_k) over these; None for L_query(θ_K).
    """

    inner: Inner
    query_loss: QueryLoss
    params: Params
    trains: tuple[str, ...]
    batch: TaskBatch
    memory: str = "flat"
    diagnose: bool = False
    wrap: Compile | None = None
    weights: dict[int, Tensor] | None = None


@dataclass(frozen=True)
class Estimate:
    """What an estimator finds out about a batch.

    Args:
        losses: query loss of each task after adapting, ``[tasks]``.
        grads: the gradient of their **sum** towards the meta-trained parameters.
        norms: ‖v_k‖ of each task, k = 0 … K, ``[K + 1, tasks]``; empty unless asked for.
        residual: where a linear system is solved, its relative residual for each task; empty otherwise.
    """

    losses: Tensor
    grads: Params
    norms: Tensor
    residual: Tensor
