"""Any classifier of scikit-learn as a head, task after task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaft.learners.heads.head import Fitted
from metaft.tasks.batch import IGNORE


def per_task(
    make: Callable[[], Any],
    x: Tensor,
    y: Tensor,
    ways: int,
    size: Callable[[Any], int] = lambda model: int(model.coef_.size + model.intercept_.size),
) -> Fitted:
    """Fit a classifier of scikit-learn to each task.

    Examples are put into an order that depends on their features alone, so that a classifier that draws examples at
    random does not depend on the order in which they came.

    Args:
        make: a fresh classifier.
        x: ``[tasks, support, width]``.
        y: ``int64 [tasks, support]``.
        ways: the number of classes.
        size: how many numbers a fitted classifier holds.

    Returns:
        The heads; scores are ``decision_function`` or the logarithm of ``predict_proba``.
    """
    models = [_fit(make(), *task) for task in zip(x.double().cpu().numpy(), y.cpu().numpy(), strict=True)]

    def scores(queries: Tensor) -> Tensor:
        rows = queries.double().cpu().numpy()
        answers = np.stack([_scores(model, row, ways) for model, row in zip(models, rows, strict=True)])
        lowest = torch.finfo(queries.dtype).min
        return torch.from_numpy(answers).to(queries).clamp(min=lowest)

    return Fitted(scores, round(sum(map(size, models)) / len(models)))


def _fit(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    x, y = x[y != IGNORE], y[y != IGNORE]
    order = np.lexsort(x.T)
    return model.fit(x[order], y[order])


def _scores(model: Any, x: np.ndarray, ways: int) -> np.ndarray:
    """``[queries, ways]``, −∞ for a class without an example."""
    if hasattr(model, "decision_function") and not hasattr(model, "predict_proba"):
        values = model.decision_function(x)
        values = np.stack([-values, values], axis=1) if values.ndim == 1 else values
    else:
        with np.errstate(divide="ignore"):  # a class no tree votes for
            values = np.log(model.predict_proba(x))
    found = np.full((len(x), ways), -np.inf)
    found[:, model.classes_] = values
    return found
