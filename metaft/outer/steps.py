"""What the reverse pass asks of a problem: each inner step, its linearisation, the query loss after it, the start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from metaft.inner.adapt import learned, network, per_task
from metaft.inner.rules import Params, State
from metaft.kept import kept
from metaft.outer.pieces import Back, Linearise, Move, Pullback, move_of, pieces_of, step_back
from metaft.outer.problem import Problem
from metaft.tasks.batch import TaskBatch

Linear = tuple[Params, Pullback]


class Steps:
    """The computations of one problem, step by step.

    With ``diagnose`` every step is taken by every task on its own; otherwise parameters are shared in the first, and a
    single task shares them with itself in all.

    Args:
        linearise: the estimator's Hessian-vector product.
        problem: what is asked.
        batch: in place of the problem's.
    """

    def __init__(self, linearise: Linearise, problem: Problem, batch: TaskBatch | None = None) -> None:
        inner, params, trains = problem.inner, problem.params, problem.trains
        self.batch = problem.batch if batch is None else batch
        self.inner, self.params, self.trains = inner, params, trains
        self.linearise, self.wrap = linearise, problem.wrap
        wrap = problem.wrap or _as_it_is
        make = lambda: pieces_of(linearise, inner, problem.query_loss, wrap)
        # Compiled, one set of functions a setting, so that each is compiled only once.
        setting = (pieces_of, linearise, inner, problem.query_loss, wrap)
        self.pieces = kept(inner.loss).once(setting, make) if problem.wrap else make()
        self.rates, self.start = learned(params), inner.start(params)
        self.weights: dict[int, Any] = problem.weights or {inner.steps: None}
        # What does not adapt but trains, and the start where the objective depends on it.
        self.live = {n: p for n, p in params.items() if n in trains and n not in self.rates and n not in self.start}
        if inner.objective.uses_start:
            self.live |= self.start
        self.fixed = {n: p for n, p in params.items() if n not in self.live}
        self.single = self.batch.tasks == 1 and not problem.diagnose
        self.shared_first = inner.begin is None and not problem.diagnose
        # Compiled, a step and its way back are one call each, unless every step would have to be compiled on its own:
        # which is so of rules that count their steps, and of those that do not say.
        self.as_one = problem.wrap is not None and not getattr(inner.rule, "counts_steps", True)
        self.rates_by_step = getattr(inner.rule, "rates_by_step", False)

    def shared(self, k: int) -> bool:
        """Whether all tasks stand on one set of parameters before step k."""
        return self.single or (k == 0 and self.shared_first)

    def begin(self) -> tuple[Params, State]:
        """The adapting parameters and the rule's state before the first step."""
        adapting = self.start if self.shared_first or self.single else per_task(self.start, self.batch.tasks)
        if self.inner.begin:
            begun = self.pieces.begun(self.params, self.batch.support_x, self.batch.support_y, self.batch.keys)
            adapting = adapting | ({n: v.squeeze(0) for n, v in begun.items()} if self.single else begun)
        return adapting, self.inner.rule.init(adapting)

    def gradient(self, k: int, adapting: Params) -> Params:
        """Step k's inner gradient, stacked over tasks."""
        of_step, here = self.pieces.gradient[self.shared(k)], self.batch.at_step(k)
        return of_step(adapting, self.inner.at_step(k, self.params), here.keys, here.support_x, here.support_y)

    def linearised(self, k: int, adapting: Params) -> Linear:
        """Step k's inner gradient and a product with its transposed Jacobian."""
        now, then = self.inner.at_step(k, self.live), self.inner.at_step(k, self.fixed)
        batch = self.batch.at_step(k)
        if self.wrap is None:
            return self.linearise(self.inner, batch, self.shared(k), adapting, now, then)
        product = self.pieces.product[self.shared(k)]
        # Only the rule's Jacobian may need the gradient once more, and SGD's does not.
        again = self.inner.rule.uses_gradient
        grads = self.gradient(k, adapting) if again else _zeros_like(adapting, self.batch.tasks, self.shared(k))
        return grads, lambda w: product(adapting, now, then, w, *batch.parts())

    def forward(self, k: int, adapting: Params, state: State, linear: Linear | None = None) -> tuple[Params, State]:
        """What adapts, and the rule's state, after step k; ``linear`` if that step was linearised already."""
        if self.as_one and linear is None:
            of_step, here = self.pieces.forward[self.shared(k)], self.batch.at_step(k)
            params, rates = self.inner.at_step(k, self.params), self._rates_alone(k)
            return of_step(adapting, state, params, rates, here.keys, here.support_x, here.support_y)
        grads = linear[0] if linear else self.gradient(k, adapting)
        return self.move(k)(adapting, state, grads, self.rates)

    def back(
        self, k: int, adapting: Params, state: State, adjoint: Params, of_state: State, linear: Linear | None = None
    ) -> Back:
        """Pull both adjoints back through step k, which was taken at ``adapting`` and ``state``."""
        if self.as_one and linear is None:
            now, then = self.inner.at_step(k, self.live), self.inner.at_step(k, self.fixed)
            of_step, rates = self.pieces.back[self.shared(k)], self._rates_alone(k)
            out: Back = of_step(adapting, state, now, then, rates, adjoint, of_state, *self.batch.at_step(k).parts())
            return out[0], out[1], self._among_all(k, out[2]), out[3]
        grads, product = linear or self.linearised(k, adapting)
        return step_back(self.move(k), product, (adapting, state, grads, self.rates), adjoint, of_state)

    def move(self, k: int) -> Move:
        """Step k of the rule."""
        return move_of(self.inner, k, self.shared(k), self.batch.tasks)

    def query(self, k: int, adapting: Params) -> tuple[Tensor, Params, Params]:
        """The query loss of each task after k steps times its weight, its gradient towards adapting and live ones."""
        now = self.inner.after(k, {n: p for n, p in self.live.items() if n not in self.start})
        then = self.inner.after(k, {n: p for n, p in network(self.fixed).items() if n not in self.start})
        found = self.pieces.query[self.shared(k)](adapting, now, then, *self.batch.after(k).parts())
        weight = self.weights[k]
        return found if weight is None else tree_map(lambda v: weight * v, found)

    def through_task_start(self, adjoint: Params) -> tuple[Params, Params]:
        """Pull the adjoint at θ_0 back to the meta-parameters.

        Args:
            adjoint: v_0.

        Returns:
            Towards the adapting meta-parameters, summed over tasks; and, of those that tasks begin from their support
            sets, towards what these were computed from.
        """
        if self.inner.begin is None:
            return self._summed(adjoint), {}
        begun = self.inner.begin.names
        cotangent = {n: adjoint[n].unsqueeze(0) if self.single else adjoint[n] for n in begun}
        own, rest = (
            {n: p for n, p in network(self.params).items() if (n in self.trains) == to} for to in (True, False)
        )
        through = self.pieces.begin(self.batch.support_x, self.batch.support_y, own, rest, cotangent, self.batch.keys)
        return self._summed({n: v for n, v in adjoint.items() if n not in begun}), through

    def _rates_alone(self, k: int) -> Params:
        """What the rule learns; of rates by step only step k's, so that the rule's step 0 is its step k."""
        if not self.rates_by_step:
            return self.rates
        return {n: r.narrow(0, self.inner.place(k, r), 1) for n, r in self.rates.items()}

    def _among_all(self, k: int, of_rates: Params) -> Params:
        """The gradient towards those in the place of step k, and none towards the others."""
        if not self.rates_by_step:
            return of_rates
        places = {n: self.inner.place(k, r) for n, r in self.rates.items()}
        return {
            n: torch.zeros_like(self.rates[n]).slice_scatter(v, 0, places[n], places[n] + 1)
            for n, v in of_rates.items()
        }

    def _summed(self, adjoint: Params) -> Params:
        return adjoint if self.shared_first or self.single else {n: v.sum(0) for n, v in adjoint.items()}


def adapted(linearise: Linearise, problem: Problem, batch: TaskBatch) -> Params:
    """The adapted parameters of every task, for estimators that know the end of the inner loop alone.

    Args:
        linearise: an estimator's product; none is taken.
        problem: what is asked, with K ≥ 1.
        batch: its support sets are adapted to.

    Returns:
        θ_K, stacked over tasks.
    """
    steps = Steps(linearise, problem, batch)
    adapting, state = steps.begin()
    for k in range(problem.inner.steps):
        adapting, state = steps.forward(k, adapting, state)
    return {n: v.unsqueeze(0) for n, v in adapting.items()} if steps.single else adapting


class Total:
    """A gradient towards the meta-parameters that is summed up part by part.

    Args:
        steps: whose.
    """

    def __init__(self, steps: Steps) -> None:
        self.inner, self.params = steps.inner, steps.params
        stacked = [n for n in steps.live if n in steps.inner.per_step]
        self.value = {n: torch.zeros_like(steps.params[n]) for n in (*steps.rates, *stacked)}

    def add(self, part: Params, k: int | None = None) -> None:
        """Add to it.

        Args:
            part: by name.
            k: the step that it is of: of what is learned for each step, it counts there.
        """
        for n, v in part.items():
            if k is not None and n in self.inner.per_step:
                at = self.inner.place(k, self.params[n])
                self.value[n] = self.value[n].select_scatter(self.value[n][at] + v, 0, at)
            else:
                self.value[n] = self.value[n] + v if n in self.value else v


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _zeros_like(params: Params, tasks: int, shared: bool) -> Params:
    """Zeros in the shape of every task's gradients, without their memory."""
    return {n: p.new_zeros(()).expand(tasks, *(p.shape if shared else p.shape[1:])) for n, p in params.items()}
