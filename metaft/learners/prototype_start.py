"""A head that begins from each task's prototypes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.inner.adapt import TaskStart
from metaft.inner.rules import Params, Rule
from metaft.kept import kept
from metaft.models.functional import BatchNormMode, Functional
from metaft.models.heads import CosineHead, head_name, without_head
from metaft.tasks.batch import IGNORE

ABSENT = -1e4
"""The score of a class that has no example: its probability is 0, and so are its gradients."""


class PrototypeStart:
    """w_c = 2 μ_c and b_c = −‖μ_c‖², μ_c the mean feature of class c in the support set.

    Triantafillou et al. 2020, "Meta-Dataset", §3 (Proto-MAML, eq. 4 and 5): before the first step the head scores as a
    prototypical network does (Snell et al. 2017, eq. 8). It has as many rows as the tasks have ways.

    Args:
        model: the network, its head a linear layer with biases; copied.
        batch_norm: its mode; the support set is normalised as in the inner loop.

    Raises:
        MetaftError: if the network has no such head.
    """

    def __init__(self, model: nn.Module, batch_norm: BatchNormMode = "transductive") -> None:
        name = head_name(model)
        head = model.get_submodule(name)
        if isinstance(head, CosineHead) or getattr(head, "bias", None) is None:
            raise MetaftError(
                f"prototypes make a linear head with biases, and {name!r} is a {type(head).__name__} without"
            )
        self.body = Functional(without_head(model), batch_norm)
        prefix = f"{name}." if name else ""
        self.names = (f"{prefix}weight", f"{prefix}bias")
        self._kept = frozenset(self.body.params())

    def of_task(self, ways: int, ragged: bool, params: Params, x: Tensor, y: Tensor) -> Params:
        """The head of one task.

        Args:
            ways: its rows.
            ragged: whether some examples may be padding.
            params: of the body; others are left aside.
            x: ``[support, *input]``.
            y: ``int64 [support]``, ``IGNORE`` for padding.

        Returns:
            Its weight ``[ways, width]`` and bias ``[ways]``. A class without an example is never the answer.
        """
        own = {n: p for n, p in params.items() if n in self._kept}
        features = self.body(own, x, counted=y != IGNORE if ragged else None)
        member = (y == torch.arange(ways, device=y.device).unsqueeze(-1)).to(features.dtype)
        count = member.sum(-1, keepdim=True)
        means = member @ features / count.clamp(min=1)
        bias = torch.where(count.squeeze(-1) > 0, -means.square().sum(-1), ABSENT)
        return dict(zip(self.names, (2 * means, bias), strict=True))

    def require_any_ways(self, rule: Rule, head: Params) -> None:
        """Refuse a rule that learns something for each row of the head.

        Args:
            rule: the inner rule.
            head: its parameters for some number of ways.

        Raises:
            MetaftError: if what the rule learns has another shape for other ways.
        """
        wider = {n: torch.cat([p, p[:1]]) for n, p in head.items()}
        here, there = ({n: r.shape for n, r in rule.learned(of).items()} for of in (head, wider))
        if here != there:
            raise MetaftError(
                f"{type(rule).__name__} learns something for every row of the head, which here has as many rows as a "
                "task has ways; use rule 'sgd', 'momentum', 'adam' or 'lslr'"
            )

    def begin(self, ways: int, ragged: bool) -> TaskStart:
        """The start for tasks of so many ways: the same object every time, so that it is compiled once."""
        make = lambda: TaskStart(self.names, lambda params, x, y: self.of_task(ways, ragged, params, x, y))
        return kept(self).once((ways, ragged), make)
