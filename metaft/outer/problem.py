"""What an estimator is, what it is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from metaft.errors import MetaftError, nearest
from metaft.inner.adapt import Inner
from metaft.inner.objectives import Objective
from metaft.inner.rules import Params
from metaft.tasks.batch import TaskBatch
from metaft.validate import require_count

QueryLoss = Callable[[Params, Tensor, Tensor, Tensor, Tensor], Tensor]
Compile = Callable[[Callable[..., Any]], Callable[..., Any]]
ENGINES = ("eager", "compile", "higher")
MEMORY = ("flat", "checkpoints", "graph")


@dataclass(frozen=True)
class Outer:
    """What is differentiated, towards what, and how the gradient is obtained.

    Args:
        estimator: of the meta-gradient.
        trains: names of the meta-parameters towards which a gradient is wanted.
        query_loss: ``query_loss(params, support_x, support_y, query_x, query_y) → scalar`` of one task; the inner
            loop's loss on the query set if None.
        step_weights: w_0 … w_K of Σ_k w_k L_query(θ_k); only the last step's if None.
    """

    estimator: Estimator
    trains: tuple[str, ...]
    query_loss: QueryLoss | None = None
    step_weights: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Compute:
    """How the same numbers are computed: faster or slower, in more or less memory.

    Args:
        engine: "eager", "compile" or "higher".
        memory: "flat", "checkpoints" or "graph".
        workers: threads that share a batch's chunks of tasks.
        chunk: tasks computed together; chosen from the shape of an example if None.

    Raises:
        MetaftError: if a name is unknown, or a count below 1.
    """

    engine: str = "eager"
    memory: str = "flat"
    workers: int = 1
    chunk: int | None = None

    def __post_init__(self) -> None:
        for what, given, known in (("memory", self.memory, MEMORY), ("engine", self.engine, ENGINES)):
            if given not in known:
                raise MetaftError(f"unknown {what} {given!r}{nearest(given, known)}")
        require_count(self.workers, "workers", 1)
        require_count(1 if self.chunk is None else self.chunk, "chunk", 1)


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


class Estimator(Protocol):
    """How the meta-gradient is obtained; a frozen dataclass whose fields are its options.

    Attributes:
        name: as in the table.
        without_path: why it does not differentiate the path of the inner loop; empty where it does.
        compiles_whole: whether its work is the same whatever the data, so that all of it can be one compiled graph.
        in_higher: what it is to engine "higher": full Hessians or not; None where that engine does not have it.
        pulls_after: whether it knows what to do with objective "l2-after".
    """

    name: ClassVar[str]
    without_path: ClassVar[str]
    compiles_whole: ClassVar[bool]
    in_higher: ClassVar[bool | None]
    pulls_after: ClassVar[bool]

    def __call__(self, problem: Problem) -> Estimate:
        """Estimate the sum over tasks of the meta-gradients."""
        ...

    def check(self, steps: int, objective: Objective, adapts: Collection[str], trains: Collection[str]) -> None:
        """Refuse what it cannot train, before any work.

        Args:
            steps: inner steps K.
            objective: what the inner loop descends.
            adapts: names of what adapts.
            trains: names of what is meta-trained.

        Raises:
            MetaftError: with the reason, and what to do.
        """
        ...


class AlongThePath:
    """What estimators that differentiate the path of the inner loop have in common: they can train anything."""

    without_path: ClassVar[str] = ""
    compiles_whole: ClassVar[bool] = True
    in_higher: ClassVar[bool | None] = None
    pulls_after: ClassVar[bool] = False

    def check(self, steps: int, objective: Objective, adapts: Collection[str], trains: Collection[str]) -> None:
        """Nothing is refused."""
