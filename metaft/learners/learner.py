"""What a learner is: it adapts to support sets and answers for query sets, all tasks of a batch at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from metaft.companions import keeps_up
from metaft.outer.mean_gradient import MetaGradient
from metaft.tasks.batch import TaskBatch

Predictor = Callable[[Tensor], Tensor]


class Learner(Protocol):
    """A way to use a support set."""

    @property
    def name(self) -> str:
        """What tables print."""
        ...

    @property
    def params(self) -> dict[str, Tensor]:
        """The meta-parameters; empty for a learner that has none."""
        ...

    @property
    def transductive(self) -> bool:
        """Whether the answer to one query depends on the other queries."""
        ...

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Adapt to ``[tasks, support, *input]`` and return ``query_x → [tasks, query, outputs]``."""
        ...

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Query predictions after each inner step, ``[steps + 1, tasks, query, outputs]``."""
        ...

    def describe(self) -> dict[str, object]:
        """The settings that identify this learner, as JSON-able values.

        ``"adapts"`` is how many numbers change per task: 0 for a nearest neighbour, the size of a new head, …
        """
        ...


class MetaLearner(Learner, Protocol):
    """A learner whose meta-parameters are trained by a meta-gradient."""

    params: dict[str, Tensor]

    def meta_gradient(self, batch: TaskBatch) -> MetaGradient:
        """The mean query loss over the batch and its gradient."""
        ...

    def adjoint_norms(self, batch: TaskBatch) -> list[float]:
        """The adjoint's norm at each inner step 0 … K, the mean over the batch's tasks."""
        ...

    def scope_rows(self) -> list[list[str]]:
        """What adapts and what is meta-trained, a row a parameter."""
        ...


def set_progress(learner: MetaLearner, fraction: float) -> None:
    """Tell a learner how far its training is, if it has the method ``set_progress(fraction)``, which is optional.

    Args:
        learner: what it makes of that must depend on ``fraction`` alone, so that a resumed run is the same.
        fraction: of training behind it, in [0, 1].
    """
    if hasattr(learner, "set_progress"):
        learner.set_progress(fraction)


def takes_update(learner: MetaLearner) -> bool:
    """Whether a learner's ``meta_gradient`` can be given an ``update`` and what that keeps, to be compiled with it.

    Both are optional, as is the property ``takes_update`` that says so; a learner that has it names in ``trains`` the
    parameters that it gives gradients of.

    Args:
        learner: one with a ``meta_gradient`` of its own, in a subclass say, has to say it anew: what it makes of the
            gradient would come too late.

    Returns:
        Whether it does.
    """
    return keeps_up(learner, "takes_update", "meta_gradient") and bool(learner.takes_update)  # type: ignore[attr-defined]
