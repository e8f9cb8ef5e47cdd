"""A stage of fine-tuning: one network, a plan of steps, all tasks at once, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.func import grad, vmap

from metaft.inner.batching import over_tasks
from metaft.inner.losses import cross_entropy, mean_squared_error
from metaft.inner.objectives import Objective
from metaft.inner.rules import Params, Rule, State
from metaft.learners.linearised import linearised
from metaft.learners.schedules import Names, Plan
from metaft.models.functional import Functional
from metaft.tasks.batch import IGNORE

Answer = Callable[[Tensor, Tensor | None], Tensor]
"""``answer(query_x, counted)`` → predictions, stacked over tasks; ``counted`` is false for padding, None without it."""


def stage_path(
    rule: Rule,
    objective: Objective,
    support_y: Tensor,
    ragged: bool,
    model: Functional,
    start: Params,
    adapting: Params,
    plan: Plan,
    support_x: Tensor,
    *,
    own: Params | None = None,
    linear: bool = False,
) -> Iterator[tuple[Params, Answer]]:
    """Follow a plan on one network: where each step leads, and what is answered there.

    Args:
        rule: how a step moves.
        objective: what it descends.
        support_y: ``[tasks, support]`` labels or ``[tasks, support, outputs]`` values.
        ragged: whether some examples are padding.
        model: the network.
        start: all its parameters where fine-tuning begins, shared by all tasks but for `own`.
        adapting: those that adapt where this stage begins, stacked over tasks; a linear model expands about them.
        plan: names that move at each step.
        support_x: ``[tasks, support, *input]``.
        own: parameters that begin elsewhere in each task, stacked over tasks.
        linear: expand the network to first order.

    Yields:
        After 0, 1, … steps: the adapting parameters, and the answers they give.
    """
    point, own = adapting, own or {}
    bend = linearised if linear else lambda answer, point, params: answer(params)

    def value(moved: Params, point: Params, own: Params, x: Tensor, y: Tensor) -> Tensor:
        counted, begin = y != IGNORE if ragged else None, start | own

        def loss(params: Params, x: Tensor, y: Tensor) -> Tensor:
            forward = lambda p: model(begin | p, x, counted=counted)
            return _task_loss(bend(forward, point, {name: params[name] for name in moved}), y, ragged)

        return objective(loss, begin | moved, begin, x, y)

    def answer(moved: Params, query_x: Tensor, query_counted: Tensor | None) -> Tensor:
        masks = (support_y != IGNORE, query_counted) if query_counted is not None else ()
        of_one = lambda moved, point, own, *task: bend(lambda p: model.query(start | own | p, *task), point, moved)
        data = (moved, point, own, support_x, query_x, *masks)
        return over_tasks(of_one, (0,) * len(data))(*data)

    for moved in unroll(value, rule, adapting, plan, (point, own, support_x, support_y)):
        yield moved, partial(answer, moved)


def unroll(
    value: Callable[..., Tensor], rule: Rule, start: Params, plan: Plan, data: tuple[Params | Tensor, ...]
) -> Iterator[Params]:
    """Take the steps of a plan for all tasks at once, one after another, keeping only where they stand.

    Parameters that move together have a course of the rule of their own: momentum, and Adam's moments and count,
    begin when that set first moves and rest when it does.

    Args:
        value: what one task descends, ``value(adapting, *data) → scalar``.
        rule: how a step moves.
        start: the adapting parameters, stacked over tasks.
        plan: names that move at each step.
        data: of all tasks, stacked.

    Yields:
        The adapting parameters after 0, 1, … steps, stacked over tasks.
    """
    adapting = start
    courses: dict[Names, tuple[int, State]] = {}
    yield adapting
    for names in plan:
        moving = {name: adapting[name] for name in names}
        resting = {name: p for name, p in adapting.items() if name not in moving}
        gradient = over_tasks(grad(lambda m, r, *d: value(r | m, *d)), (0,) * (2 + len(data)))
        grads = gradient(moving, resting, *data)
        count, state = courses[names] if names in courses else (0, rule.init(moving))
        step = vmap(lambda p, s, g, k=count: rule.step(k, p, s, g, {}))
        moved, state = step(moving, state, grads)
        courses[names] = count + 1, state
        adapting = adapting | moved
        yield adapting


def _task_loss(scores: Tensor, y: Tensor, ragged: bool) -> Tensor:
    """The mean loss of one task's support set."""
    if y.is_floating_point():
        return mean_squared_error(scores, y)
    if ragged:  # classes that only other tasks of the batch have are no alternatives here
        present = (y.unsqueeze(-1) == torch.arange(scores.shape[-1], device=y.device)).any(0)
        scores = scores.masked_fill(~present, torch.finfo(scores.dtype).min)
    return cross_entropy(scores, y)
