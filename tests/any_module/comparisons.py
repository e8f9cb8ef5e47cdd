"""The same meta-gradient computed in two ways, for one case: how far apart, or why it could not be computed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

import metaft
from metaft import TaskBatch
from metaft.outer.mean_gradient import MetaGradient
from tests.any_module import reference
from tests.any_module.case import RATE, STEPS, Case
from tests.any_module.reference import Params, difference

# What the relative error of the whole gradient may be. Finite differences are no more exact than that, and conjugate
# gradients spread rounding where the system is badly conditioned.
TIGHT, LOOSE = 1e-12, {"finite-difference": 1e-5, "implicit": 1e-8}
# More iterations spread more of it, whoever computes them.
IMPLICIT: dict[str, Any] = {"estimator": "implicit", "objective": metaft.L2ToStart(10.0), "solver_iterations": 5}


class Ways:
    """One case, its tasks, and the ways to compute their meta-gradient.

    Args:
        case: the network and its tasks.
        training: whether the network is in training mode.
        seed: of the weights and the tasks.
        steps: inner steps K.
    """

    def __init__(self, case: Case, training: bool = True, seed: int = 0, steps: int = STEPS) -> None:
        self.steps, self.seed = steps, seed
        self.case, self.module, self.batch = case, case.module(seed).train(training), case.batch(seed)
        self.params = {name: p.detach().clone() for name, p in self.module.named_parameters()}
        self._known: dict[Any, Any] = {}

    def plain(self, batch: TaskBatch | None = None, **options: Any) -> MetaGradient:
        """By ``metaft.meta_gradient`` and a loss with ``functional_call``."""
        return metaft.meta_gradient(
            self.case.plain_loss(self.module), self.params, batch or self.batch,
            **{"rule": metaft.SGD(RATE), "steps": self.steps} | options,
        )  # fmt: skip

    def threaded(self, workers: int, **options: Any) -> MetaGradient:
        """The same where several threads call the loss, which then needs a module each."""
        # Made beforehand: inside a transform torch lets nobody set ``.data``, as ``Module.double()`` does.
        ready = [self.case.module(self.seed).train(self.module.training) for _ in range(workers + 2)]
        taken: dict[int, Callable[..., Tensor]] = {}

        def loss(params: Params, x: Tensor, y: Tensor) -> Tensor:
            thread = threading.get_ident()
            if thread not in taken:
                taken[thread] = self.case.plain_loss(ready.pop())
            return taken[thread](params, x, y)

        return metaft.meta_gradient(
            loss, self.params, self.batch, rule=metaft.SGD(RATE), steps=self.steps, workers=workers, chunk=1, **options
        )

    def alone(self, compute: Callable[..., MetaGradient] | None = None, **options: Any) -> Params:
        """The mean over tasks of each task's own."""
        compute = compute or self.plain
        each = [compute(self.batch[t : t + 1], **options).grads for t in range(self.batch.tasks)]
        return {name: torch.stack([grads[name].to_dense() for grads in each]).mean(0) for name in each[0]}

    def learner(self, batch: TaskBatch | None = None, **options: Any) -> MetaGradient:
        """By ``metaft.learners.MAML``."""
        learner = metaft.learners.MAML(self.module, metaft.SGD(RATE), self.steps, kind=self.case.kind, **options)
        return learner.meta_gradient(batch or self.batch)

    def autograd(self, second: bool = True) -> Params:
        """By plain autograd, task by task."""
        if second not in self._known:
            loss = self.case.plain_loss(self.module, own_buffers=True)
            tasks = list(zip(*self.batch.tensors()[:4], strict=True))
            self._known[second] = reference.meta_gradient(loss, self.params, tasks, RATE, self.steps, second)[1]
        return self._known[second]

    def together(self) -> Params:
        """The plain one, exact, all tasks at once."""
        if "together" not in self._known:
            self._known["together"] = self.plain().grads
        return self._known["together"]


def errors(
    case: Case, compiled: bool = False, only: Collection[str] = (), steps: int = STEPS
) -> dict[str, float | Exception]:
    """Every comparison of one case, or some: the relative error of the whole gradient, or what was raised."""
    ways, still = Ways(case, steps=steps), Ways(case, training=False, steps=steps)
    found: dict[str, float | Exception] = {}
    for name, compare in comparisons(ways, still, compiled).items():
        if only and name not in only:
            continue
        try:
            found[name] = compare()
        except Exception as error:
            found[name] = error
    return found


def comparisons(ways: Ways, still: Ways, compiled: bool = False) -> dict[str, Callable[[], float]]:
    """What is compared, by name.

    Args:
        ways: of the case in training.
        still: of the case in evaluation; where random numbers are drawn in training, plain autograd draws others.
        compiled: compare compiled code too, which takes seconds.
    """
    case = ways.case
    fixed = still if case.random else ways
    exact = ways.together
    table: dict[str, Callable[[], float]] = {
        "alone": lambda: difference(exact(), ways.alone()),
        "autograd": lambda: difference(fixed.together(), fixed.autograd()),
        "evaluation": lambda: difference(still.together(), still.autograd()),
        "graph": lambda: difference(ways.plain(memory="graph").grads, exact()),
        "checkpoints": lambda: difference(ways.plain(memory="checkpoints").grads, exact()),
        "first-order": lambda: difference(fixed.plain(estimator="first-order").grads, fixed.autograd(False)),
        "first-order alone": lambda: difference(
            ways.plain(estimator="first-order").grads, ways.alone(estimator="first-order")
        ),
        "finite-difference": lambda: difference(ways.plain(estimator="finite-difference").grads, exact()),
        "implicit": lambda: difference(ways.plain(**IMPLICIT).grads, ways.alone(**IMPLICIT)),
        "chunks": lambda: max(difference(ways.plain(chunk=c).grads, exact()) for c in (1, 3)),
        "workers": lambda: max(difference(ways.threaded(w).grads, exact()) for w in (1, 2, 3)),
    }
    if case.kind:
        table |= {
            # In training the learner draws what the plain engine draws.
            "learner": lambda: difference(ways.learner().grads, ways.together() if case.random else ways.autograd()),
            "learner alone": lambda: difference(ways.learner().grads, ways.alone(ways.learner)),
            "learner graph": lambda: difference(ways.learner(memory="graph").grads, ways.learner().grads),
            "learner workers": lambda: max(
                difference(ways.learner(workers=w).grads, ways.learner().grads) for w in (2, 3)
            ),
        }
    if case.random == "always":  # plain autograd draws other numbers, whatever the mode
        table = {
            name: compare for name, compare in table.items() if name not in ("autograd", "evaluation", "first-order")
        }
    if case.held:
        del table["finite-difference"]
    if compiled:
        table["compiled"] = lambda: difference(ways.plain(engine="compile").grads, exact())
        if case.kind:
            table["learner compiled"] = lambda: difference(ways.learner(engine="compile").grads, ways.learner().grads)
    return table


def tolerance(name: str) -> float:
    """What error a comparison may have."""
    return LOOSE.get(name, TIGHT)
