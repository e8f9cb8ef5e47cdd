"""Reptile: the start moves towards where the inner loop went (Nichol, Achiam & Schulman 2018)."""

from __future__ import annotations

from typing import Any, Unpack

from torch import nn

from metaft.learners.compositions.compose import Parts, compose
from metaft.learners.maml import MAML


def reptile(model: nn.Module, *, inner_lr: float = 1e-3, steps: int = 3, **parts: Unpack[Parts]) -> MAML:
    """No derivative of the inner loop: all × Adam without momentum × task loss × **reptile**.

    Nichol, Achiam & Schulman 2018, "On first-order meta-learning algorithms", alg. 1 and 2. What adapts is what is
    meta-trained, so ``meta_scope`` is the scope.

    Published, by the commands of the authors' code, with Adam of β1 = 0 inside: Omniglot 5-way 1-shot, transductive,
    rate 0.001, 3 steps (5 at test); 20-way rate 0.00046, 12 steps (97 at test); the sinusoid SGD of rate 0.02, 5 steps.
    Their outer step is plain SGD of a rate that falls linearly from 1 to 0, which is the training loop's
    ``outer="sgd:lr=1,schedule=linear"``.

    Four deviations. A step descends the mean over all of a task's examples, where the code goes through minibatches of
    them (25 at 5 ways, 15 at 20). A training task has as many examples as support and query set, where theirs has 15 a
    class (9 at 20 ways). The inner Adam begins anew in every task, where in the code its mean of squares
    goes on from task to task and into the test, so that our first step is longer. Its ε₀ of 1e-8 stands under the
    root, so that gradients below 1e-4 move by less than theirs (see ``metaft.inner.rules.Adam``).

    Args:
        model: any module; it is copied.
        inner_lr: the inner rate α, on the mean loss.
        steps: inner steps K in meta-training, on support and query set alike.
        parts: scope, rule and objective are free, see ``Parts``.

    Returns:
        The learner.

    Raises:
        MetaftError: if the estimator is another, or the parts do not go together.
    """
    # Rates that a rule learns are named too: this estimator cannot train them, and says so.
    own: dict[str, Any] = {"rule": "rmsprop", "meta_scope": f"{parts.get('scope', 'all')},rates"}
    return compose("reptile", model, inner_lr, steps, parts, fixed={"estimator": "reptile"}, **own)
