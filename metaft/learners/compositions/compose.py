"""A gradient-based method from its parts, and what makes two methods different ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypedDict

from torch import nn

from metaft.additions.context import Context
from metaft.errors import MetaftError
from metaft.inner.rules import LEARNED
from metaft.learners.maml import MAML
from metaft.models.functional import BatchNormMode
from metaft.parts import read
from metaft.tables import OBJECTIVES, RULES
from metaft.tasks.family import Kind

CONTEXT = Context.name


class Parts(TypedDict, total=False):
    """The parts of a method besides rate and steps; what is left out is the method's own choice.

    Args:
        inner_lr: the inner rate, on the mean support loss.
        steps: inner steps K in meta-training.
        scope: what adapts: all, head, body, biases, attention, feed-forward, norms, first:K, last:K, … or a pattern.
        meta_scope: what is meta-trained, likewise; rates: what the rule learns.
        rule: how an inner step moves, with options as in adam:beta1=0.5.
        objective: what the inner loop descends, with options as in l2:weight=2.
        objective_weight: strength of the pull to the start; the same as l2:weight=….
        estimator: how the meta-gradient is obtained, with options as in implicit:iterations=5.
        solver_iterations: the same as implicit:iterations=….
        batch_norm: whose statistics normalise the queries: transductive, inductive, or per-step (maml++).
        kind: classification or regression.
        memory: flat, checkpoints or graph: run inner steps again in the reverse pass, or keep their graph.
        engine: compile, eager or higher.
        workers: threads that share a meta-update's tasks.
    """

    scope: str
    meta_scope: str
    rule: str
    objective: str
    objective_weight: float
    estimator: str
    solver_iterations: int
    batch_norm: BatchNormMode | Literal["per-step"]
    kind: Kind
    memory: str
    engine: str
    workers: int


DEFINES = {
    ("scope", "head"): "anil",
    ("scope", "body"): "boil",
    ("scope", "context"): "cavia",
    ("estimator", "exact"): "maml",
    ("estimator", "first-order"): "fomaml",
    ("estimator", "implicit"): "imaml",
    ("estimator", "reptile"): "reptile",
    ("rule", "sgd"): "maml",
    ("rule", "meta-sgd"): "meta-sgd",
    ("rule", "meta-curvature"): "meta-curvature",
}
"""The part that makes a method that method, and its name."""


def compose(
    name: str,
    model: nn.Module,
    inner_lr: float,
    steps: int,
    given: Parts,
    *,
    fixed: Parts | None = None,
    of: Callable[..., MAML] = MAML,
    **own: Any,
) -> MAML:
    """Put a method together.

    Args:
        name: the method's.
        model: the network; it is copied.
        inner_lr: the inner rate, on a mean loss.
        steps: inner steps K.
        given: the parts that the caller chose.
        fixed: the parts without which it would be another method; they can be given, but not otherwise.
        of: the class, or what makes one of its objects.
        own: what the method takes for parts that were not given.

    Returns:
        The learner, by that name.

    Raises:
        MetaftError: if a part is contradicted or unknown, nothing adapts or trains, or the parts do not go together.
    """
    chosen: dict[str, Any] = {"rule": "sgd", **own, **(fixed or {}), **given}
    for part, value in (fixed or {}).items():
        _require(name, part, str(value), str(chosen[part]))
    rule, weight = RULES.make(chosen.pop("rule"), lr=inner_lr, steps=max(steps, 1)), chosen.get("objective_weight")
    objective = OBJECTIVES.asked(chosen.get("objective", "task")).name
    if weight is not None and "weight" not in OBJECTIVES.options(objective):
        raise MetaftError(
            f"objective_weight {weight} is the strength of a pull to the start, and objective {objective!r} has none; "
            "add objective 'l2' or 'kl', or leave the weight out"
        )
    if chosen.get("batch_norm") == "running":
        raise MetaftError(
            f"batch_norm 'running' normalises by statistics gathered in training, and learner {name!r} gathers none; "
            "use 'transductive' or 'inductive'"
        )
    has_context = any(CONTEXT in name.split(".") for name, _ in model.named_parameters())
    if CONTEXT in str(chosen.get("scope")).split(",") and not has_context:
        raise MetaftError(f"scope {CONTEXT!r}: the network has no context vector; use learner 'cavia', which gives one")
    learner = of(model, rule, steps, **chosen)
    learner.name = name
    _require_movement(learner)
    learner.estimate.check(steps, learner.objective, learner.adapts, learner.trains)
    return learner


def _require(name: str, part: str, value: str, given: str) -> None:
    given = read(given).name  # with other options it is the same part
    if given == value:
        return
    others = {of: other for (kind, of), other in DEFINES.items() if kind == part and other not in (name, "maml")}
    another = f"for {part} {given!r} use learner {others[given]!r}, " if given in others else "use learner "
    free = "or 'maml' for a free choice" if given in others else "'maml' for a free choice"
    raise MetaftError(f"learner {name!r} is defined by {part} {value!r}, not {given!r}; {another}{free}")


def _require_movement(learner: MAML) -> None:
    """Refuse an inner loop that moves nothing, and an outer one."""
    if not learner.adapts:
        raise MetaftError(f"scope {learner.scope!r} leaves nothing that adapts; to adapt nothing, take steps 0")
    if not learner.trains:
        raise MetaftError(f"meta_scope {learner.meta_scope!r} leaves nothing to meta-train; name some of the network")
    if learner.steps == 0 and any(name.startswith(LEARNED) for name in learner.trains):
        rule = type(learner.rule).__name__
        raise MetaftError(f"rule {rule} learns how to step, and steps = 0 takes none; take more, or rule 'sgd'")
