"""A gradient-based method from its parts, and what makes two methods different ones."""

from __future__ import annotations

from typing import Any, TypedDict

from torch import nn

from metaft.errors import MetaftError, nearest
from metaft.inner.rules import LEARNED, RULES
from metaft.learners.maml import MAML, NormMode
from metaft.models.conditioned import NAME as CONTEXT
from metaft.outer.checks import require_end
from metaft.tasks.family import Kind


class Parts(TypedDict, total=False):
    """The parts of a method besides rate and steps; what is left out is the method's own choice.

    The first seven make the method, all but the rule as for ``MAML``; the rule is a name of
    ``metaft.inner.rules.RULES``. The other five are as for ``MAML``.
    """

    scope: str
    meta_scope: str
    rule: str
    objective: str
    objective_weight: float
    estimator: str
    solver_iterations: int
    batch_norm: NormMode
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
    name: str, model: nn.Module, inner_lr: float, steps: int, given: Parts, *, fixed: Parts | None = None, **own: Any
) -> MAML:
    """Put a method together.

    Args:
        name: the method's.
        model: the network; it is copied.
        inner_lr: the inner rate, on a mean loss.
        steps: inner steps K.
        given: the parts that the caller chose.
        fixed: the parts without which it would be another method; they can be given, but not otherwise.
        own: what the method takes for parts that were not given.

    Returns:
        The learner, by that name.

    Raises:
        MetaftError: if a part is contradicted or unknown, nothing adapts or trains, or the parts do not go together.
    """
    chosen: dict[str, Any] = {"rule": "sgd", **own, **(fixed or {}), **given}
    for part, value in (fixed or {}).items():
        _require(name, part, str(value), str(chosen[part]))
    rule, weight = chosen.pop("rule"), chosen.get("objective_weight", 1.0)
    if rule not in RULES:
        raise MetaftError(f"unknown rule {rule!r}{nearest(rule, RULES)}")
    if weight != 1.0 and chosen.get("objective", "task") == "task":
        raise MetaftError(
            f"objective_weight {weight} is the strength of a pull to the start, and objective 'task' has none; "
            "add objective 'l2' or 'kl', or leave the weight out"
        )
    if chosen.get("batch_norm") == "running":
        raise MetaftError(
            f"batch_norm 'running' normalises by statistics gathered in training, and learner {name!r} gathers none; "
            "use 'transductive' or 'inductive'"
        )
    if CONTEXT in str(chosen.get("scope")).split(",") and CONTEXT not in dict(model.named_parameters()):
        raise MetaftError(f"scope {CONTEXT!r}: the network has no context vector; use learner 'cavia', which gives one")
    learner = MAML(model, RULES[rule](inner_lr, steps), steps, **chosen)
    learner.name = name
    _require_movement(learner, rule)
    require_end(learner.estimator, steps, learner.objective, learner.adapts, learner.trains)
    return learner


def _require(name: str, part: str, value: str, given: str) -> None:
    if given == value:
        return
    others = {of: other for (kind, of), other in DEFINES.items() if kind == part and other not in (name, "maml")}
    another = f"for {part} {given!r} use learner {others[given]!r}, " if given in others else "use learner "
    free = "or 'maml' for a free choice" if given in others else "'maml' for a free choice"
    raise MetaftError(f"learner {name!r} is defined by {part} {value!r}, not {given!r}; {another}{free}")


def _require_movement(learner: MAML, rule: str) -> None:
    """Refuse an inner loop that moves nothing, and an outer one."""
    if not learner.adapts:
        raise MetaftError(f"scope {learner.scope!r} leaves nothing that adapts; to adapt nothing, take steps 0")
    if not learner.trains:
        raise MetaftError(f"meta_scope {learner.meta_scope!r} leaves nothing to meta-train; name some of the network")
    if learner.steps == 0 and any(name.startswith(LEARNED) for name in learner.trains):
        raise MetaftError(f"rule {rule!r} learns how to step, and steps = 0 takes none; take more, or rule 'sgd'")
