"""The computations of the reverse pass as pure functions of tensors, so that each can be compiled on its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import vjp

from metaft.inner.adapt import Inner
from metaft.inner.batching import over_tasks
from metaft.inner.rules import Params, State
from metaft.outer.problem import Compile, QueryLoss
from metaft.tasks.batch import TaskBatch

Pullback = Callable[[Params], tuple[Params, Params]]
Move = Callable[[Params, State, Params, Params], tuple[Params, State]]
Back = tuple[Params, State, Params, Params]
"""Adjoints of what adapts and of the rule's state, and the gradients towards what the rule learns and live ones."""


class Linearise(Protocol):
    """The inner gradient of all tasks at a point, and a product with its transposed Jacobian there.

    Called with ``(inner, batch, shared, adapting, live, fixed)``: ``live`` are the meta-parameters besides the
    adapting ones towards which a product is wanted, ``fixed`` the others. Returns the gradient and
    ``w → (product towards adapting, product towards live)``.
    """

    def __call__(
        self, inner: Inner, batch: TaskBatch, shared: bool, adapting: Params, live: Params, fixed: Params
    ) -> tuple[Params, Pullback]:
        """Linearise the inner gradient."""
        ...


def query_gradient(
    query_loss: QueryLoss, batch: TaskBatch, shared: bool, adapting: Params, live: Params, fixed: Params
) -> tuple[Tensor, Params, Params]:
    """The query loss of each task, with its gradient.

    Args:
        query_loss: ``query_loss(params, support_x, support_y, query_x, query_y) → scalar`` of one task.
        batch: the tasks.
        shared: whether ``adapting`` is one set for all tasks; then its gradient is summed over tasks.
        adapting: adapted parameters, stacked over tasks unless shared.
        live: further parameters towards which a gradient is wanted.
        fixed: the rest.

    Returns:
        Losses ``[tasks]``, and the gradients of their sum towards ``adapting`` and ``live``.
    """

    def of_one(adapting: Params, live: Params, *data: Tensor) -> Tensor:
        return query_loss(fixed | live | adapting, *data)

    of_tasks = over_tasks(of_one, (None if shared else 0, None, 0, 0, 0, 0), batch.keys)
    losses, pull = vjp(lambda a, b: of_tasks(a, b, *batch.tensors()), adapting, live)[:2]
    return losses, *pull(torch.ones_like(losses))


def begin_gradient(
    inner: Inner,
    support_x: Tensor,
    support_y: Tensor,
    live: Params,
    fixed: Params,
    cotangent: Params,
    keys: Tensor | None = None,
) -> Params:
    """Pull a cotangent of the tasks' own starts back to the meta-parameters they were computed from.

    Args:
        inner: has such a start.
        support_x: ``[tasks, support, *input]``.
        support_y: ``[tasks, support]``.
        live: the meta-parameters towards which a gradient is wanted.
        fixed: the rest.
        cotangent: of what ``inner.begin`` gives, stacked over tasks.
        keys: ``int64 [tasks]``, of the random numbers.

    Returns:
        Gradients towards ``live``, summed over tasks.
    """
    pull = vjp(lambda live: inner.begun(fixed | live, support_x, support_y, keys), live)[1]
    gradients: Params = pull(cotangent)[0]
    return gradients


def move_of(inner: Inner, k: int, shared: bool, tasks: int) -> Move:
    """Step k of the rule for all tasks: ``(adapting, state, gradients, rates) → (adapting, state)``.

    Args:
        inner: the inner loop.
        k: the step.
        shared: whether all tasks stand on one set of parameters.
        tasks: how many there are. A single one that shares them with itself is moved as it is.

    Returns:
        The step; gradients are stacked over tasks, and so is what it gives, but for such a single task.
    """
    if not (shared and tasks == 1):
        return inner.move(k, shared)

    def of_one(adapting: Params, state: State, grads: Params, rates: Params) -> tuple[Params, State]:
        return inner.rule.step(k, adapting, state, {n: g.squeeze(0) for n, g in grads.items()}, rates)

    return of_one


def step_back(
    move: Move, product: Pullback, at: tuple[Params, State, Params, Params], adjoint: Params, of_state: State
) -> Back:
    """One step of the reverse pass: the rule's transposed Jacobian, then the Hessian-vector product.

    Args:
        move: the rule's step.
        product: with the transposed Jacobian of the inner gradient.
        at: where both are taken: what adapts, the rule's state, the inner gradient, what the rule learns.
        adjoint: of what adapts, after the step.
        of_state: of the rule's state, likewise.

    Returns:
        Both before the step, and the gradients towards what the rule learns and towards the live meta-parameters.
    """
    through, of_state, of_grads, of_rates = vjp(move, *at)[1]((adjoint, of_state))
    of_adapting, towards_live = product(of_grads)
    return {n: v + of_adapting[n] for n, v in through.items()}, of_state, of_rates, towards_live


@dataclass(frozen=True)
class Pieces:
    """The computations of the reverse pass; those in dictionaries by whether parameters are shared.

    Compiling these, and not the loop around them, takes the same time whatever K.

    Args:
        gradient: ``(adapting, params, keys, support_x, support_y) → inner gradients``.
        product: ``(adapting, live, fixed, cotangent, *batch) → (product towards adapting, towards live)``.
        forward: ``(adapting, state, params, rates, keys, *support) → (adapting, state)`` after any step; for rules that
            do not count them.
        back: ``(adapting, state, live, fixed, rates, adjoint, of_state, *batch) → step_back``, likewise.
        query: ``(adapting, live, fixed, *batch) → (losses, gradient towards adapting, towards live)``.
        begun: ``(params, support_x, support_y, keys) → what begins from the support set``.
        begin: ``(support_x, support_y, live, fixed, cotangent, keys) → gradient towards live``.
    """

    gradient: dict[bool, Callable[..., Params]]
    product: dict[bool, Callable[..., tuple[Params, Params]]]
    forward: dict[bool, Callable[..., tuple[Params, State]]]
    back: dict[bool, Callable[..., Back]]
    query: dict[bool, Callable[..., tuple[Tensor, Params, Params]]]
    begun: Callable[..., Params]
    begin: Callable[..., Params]


def pieces_of(linearise: Linearise, inner: Inner, query_loss: QueryLoss, wrap: Compile) -> Pieces:
    """The pieces for one setting.

    Args:
        linearise: the estimator's Hessian-vector product.
        inner: the inner loop.
        query_loss: the query loss of one task.
        wrap: what is done to each function: compiling it, say.

    Returns:
        The pieces.
    """

    def gradient(shared: bool) -> Callable[..., Params]:
        return lambda adapting, params, keys, x, y: inner.gradient(x, y, shared, keys)(adapting, params)

    def product(shared: bool) -> Callable[..., tuple[Params, Params]]:
        return lambda adapting, live, fixed, cotangent, *data: linearise(
            inner, TaskBatch(*data), shared, adapting, live, fixed
        )[1](cotangent)

    def forward(shared: bool) -> Callable[..., tuple[Params, State]]:
        def of_any(
            adapting: Params, state: State, params: Params, rates: Params, keys: Tensor | None, x: Tensor, y: Tensor
        ) -> Any:
            grads = inner.gradient(x, y, shared, keys)(adapting, params)
            return move_of(inner, 0, shared, len(x))(adapting, state, grads, rates)

        return of_any

    def back(shared: bool) -> Callable[..., Back]:
        def of_any(
            adapting: Params,
            state: State,
            live: Params,
            fixed: Params,
            rates: Params,
            adjoint: Params,
            of_state: State,
            *data: Tensor,
        ) -> Back:
            grads, product = linearise(inner, TaskBatch(*data), shared, adapting, live, fixed)
            move = move_of(inner, 0, shared, len(data[0]))
            return step_back(move, product, (adapting, state, grads, rates), adjoint, of_state)

        return of_any

    def query(shared: bool) -> Callable[..., tuple[Tensor, Params, Params]]:
        return lambda adapting, live, fixed, *data: query_gradient(
            query_loss, TaskBatch(*data), shared, adapting, live, fixed
        )

    both = (True, False)
    return Pieces(
        {shared: wrap(gradient(shared)) for shared in both},
        {shared: wrap(product(shared)) for shared in both},
        {shared: wrap(forward(shared)) for shared in both},
        {shared: wrap(back(shared)) for shared in both},
        {shared: wrap(query(shared)) for shared in both},
        wrap(lambda *args: inner.begun(*args)),
        wrap(lambda *args: begin_gradient(inner, *args)),
    )
