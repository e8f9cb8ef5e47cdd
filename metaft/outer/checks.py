"""What goes together: steps that are asked after, and what an estimator can do with them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.inner.adapt import Inner
from metaft.inner.objectives import L2AfterSteps, L2ToStart, Objective
from metaft.inner.rules import LEARNED

WITHOUT_A_PATH = {
    "implicit": "differentiates the solution and not the path to it",
    "reptile": "moves towards where the inner loop ends, and differentiates nothing",
}
"""Estimators that know the end of the inner loop alone, and why."""


def asked_after(
    step_weights: Sequence[float] | None, steps: int, like: Tensor
) -> tuple[tuple[int, ...] | None, Tensor | None]:
    """After which steps the query loss counts, and how much.

    Args:
        step_weights: w_0 … w_K; None for the last step alone.
        steps: K.
        like: has the type and device of the parameters.

    Returns:
        The steps whose weight is not 0, and their weights; None and None for the last step alone with weight 1. The
        weights are a tensor, so that what is compiled for the same steps serves other weights.

    Raises:
        MetaftError: if they are not K + 1 weights.
    """
    if step_weights is None:
        return None, None
    found = [float(w) for w in step_weights]
    if len(found) != steps + 1 or not all(0 <= w < float("inf") for w in found) or found[-1] == 0:
        raise MetaftError(
            f"step_weights are the weights of the query loss after 0 … {steps} steps: {steps + 1} finite numbers, none "
            f"below 0 and the last above, not {found}"
        )
    asked = tuple(k for k, w in enumerate(found) if w)
    if asked == (steps,) and found[-1] == 1:
        return None, None
    return asked, torch.tensor([found[k] for k in asked], dtype=like.dtype, device=like.device)


def require_path(estimator: str, engine: str, inner: Inner, weighted: bool) -> None:
    """Refuse what an estimator, engine or objective cannot do.

    Args:
        estimator: by name.
        engine: by name.
        inner: the inner loop.
        weighted: whether the query loss is asked for after other steps than the last.

    Raises:
        MetaftError: with the reason.
    """
    asked = (
        "a loss after every step"
        if weighted
        else "a start from the support set"
        if inner.begin
        else "parameters of each step"
        if inner.per_step
        else ""
    )
    if asked and estimator in WITHOUT_A_PATH:
        raise MetaftError(
            f"estimator {estimator!r} does not go with {asked}: it {WITHOUT_A_PATH[estimator]}; use 'exact', "
            "'finite-difference' or 'first-order'"
        )
    if engine == "higher" and estimator not in ("exact", "first-order"):
        raise MetaftError(f"engine 'higher' knows the estimators 'exact' and 'first-order', not {estimator!r}")
    if asked and engine == "higher":
        raise MetaftError(f"engine 'higher' does not go with {asked}; use engine 'eager' or 'compile'")
    if isinstance(inner.objective, L2AfterSteps) and estimator != "implicit":
        raise MetaftError(
            f"objective 'l2-after' pulls to the start after the last step, which is part of estimator 'implicit'; with "
            f"{estimator!r} use objective 'l2'"
        )
    if inner.begin and inner.objective.uses_start:
        raise MetaftError(
            "an objective that holds to the start takes one start for all tasks, and here each task has its own; "
            "use objective 'task'"
        )


def require_end(
    estimator: str, steps: int, objective: Objective, adapts: Collection[str], trains: Collection[str]
) -> None:
    """Refuse what an estimator that knows the end of the inner loop alone cannot train.

    Args:
        estimator: by name; others than those of ``WITHOUT_A_PATH`` can do all of this.
        steps: inner steps K.
        objective: what the inner loop descends.
        adapts: names of what adapts.
        trains: names of what is meta-trained.

    Raises:
        MetaftError: with the reason, and what to do.
    """
    if estimator not in WITHOUT_A_PATH:
        return
    rates = [name for name in trains if name.startswith(LEARNED)]
    if rates:
        raise MetaftError(
            f"estimator {estimator!r} cannot train learned rates ({rates[0]!r}): it {WITHOUT_A_PATH[estimator]}; take "
            "a rule that learns nothing, or estimator 'exact', 'first-order' or 'finite-difference'"
        )
    if steps < 1:
        raise MetaftError(f"estimator {estimator!r} needs at least 1 inner step, to have an end of the inner loop")
    if estimator == "implicit" and not isinstance(objective, L2ToStart):
        raise MetaftError(
            "estimator 'implicit' needs the proximal objective: use objective 'l2' (metaft.L2ToStart) or 'l2-after'"
        )
    idle = [name for name in trains if name not in adapts]
    if estimator == "reptile" and idle:
        raise MetaftError(
            f"estimator 'reptile' trains only what adapts, and {idle[0]!r} does not: let meta_scope be the scope, or "
            "use another estimator"
        )
