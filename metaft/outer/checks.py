"""What goes together: steps that are asked after, and what an estimator can do with them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.inner.adapt import Inner
from metaft.inner.objectives import L2AfterSteps
from metaft.inner.rules import LEARNED
from metaft.outer.problem import Estimator


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


def require_path(estimator: Estimator, engine: str, inner: Inner, weighted: bool) -> None:
    """Refuse what an estimator, engine or objective cannot do.

    Args:
        estimator: how the gradient is obtained.
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
    if asked and estimator.without_path:
        raise MetaftError(
            f"estimator {estimator.name!r} does not go with {asked}: it {estimator.without_path}; use 'exact', "
            "'finite-difference' or 'first-order'"
        )
    if engine == "higher" and estimator.in_higher is None:
        raise MetaftError(f"engine 'higher' knows the estimators 'exact' and 'first-order', not {estimator.name!r}")
    if asked and engine == "higher":
        raise MetaftError(f"engine 'higher' does not go with {asked}; use engine 'eager' or 'compile'")
    if isinstance(inner.objective, L2AfterSteps) and not estimator.pulls_after:
        raise MetaftError(
            f"objective 'l2-after' pulls to the start after the last step, which is part of estimator 'implicit'; with "
            f"{estimator.name!r} use objective 'l2'"
        )
    if inner.begin and inner.objective.uses_start:
        raise MetaftError(
            "an objective that holds to the start takes one start for all tasks, and here each task has its own; "
            "use objective 'task'"
        )


def require_end(estimator: Estimator, steps: int, trains: Collection[str]) -> None:
    """Refuse what an estimator that knows the end of the inner loop alone cannot train.

    Args:
        estimator: one of those ``without_path``.
        steps: inner steps K.
        trains: names of what is meta-trained.

    Raises:
        MetaftError: with the reason, and what to do.
    """
    rates = [name for name in trains if name.startswith(LEARNED)]
    if rates:
        raise MetaftError(
            f"estimator {estimator.name!r} cannot train learned rates ({rates[0]!r}): it {estimator.without_path}; "
            "take a rule that learns nothing, or estimator 'exact', 'first-order' or 'finite-difference'"
        )
    if steps < 1:
        raise MetaftError(f"estimator {estimator.name!r} needs at least 1 inner step, to have an end of the inner loop")
