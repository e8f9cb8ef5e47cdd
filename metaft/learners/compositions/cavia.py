"""CAVIA: a context vector adapts, and nothing else (Zintgraf, Shiarlis, Kurin, Hofmann & Whiteson 2019)."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from metaft.additions.attach import attach
from metaft.additions.context import Context
from metaft.learners.compositions.compose import Parts, compose
from metaft.learners.maml import MAML


def cavia(
    model: nn.Module,
    *,
    inner_lr: float = 1.0,
    steps: int = 2,
    context: int | None = None,
    seed: int = 0,
    **parts: Unpack[Parts],
) -> MAML:
    """Tasks differ by a vector that the network is given besides the input: **context** × SGD × task loss × exact.

    Zintgraf, Shiarlis, Kurin, Hofmann & Whiteson 2019, "Fast context adaptation via meta-learning", §3 and alg. 1. The
    vector starts at 0 in every task and is not meta-trained; everything else is, and does not adapt.

    Published, on mean losses: images α = 1, 2 steps, 100 numbers that modulate the third convolution (FiLM); the
    sinusoid α = 1, 1 step, 5 numbers beside the input. ``metaft.additions.context`` says how, and where it deviates.

    Args:
        model: any module with a convolution, or else with a Linear layer; it is copied.
        inner_lr: the inner rate α, on the mean support loss.
        steps: inner steps K in meta-training.
        context: how many numbers the vector has; by default 100 for images and 5 for regressions.
        seed: of the weights that bring the context in; torch's global random state is left as it was.
        parts: rule, objective and estimator are free, see ``Parts``.

    Returns:
        The learner.

    Raises:
        MetaftError: if a scope is another, or the parts do not go together.
    """
    size = context if context is not None else 5 if parts.get("kind") == "regression" else 100
    return compose(
        "cavia",
        attach(model, Context(size), seed),
        inner_lr,
        steps,
        parts,
        fixed={"scope": Context.name, "meta_scope": f"all,!{Context.name},rates"},
    )
