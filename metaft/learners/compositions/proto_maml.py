"""Proto-MAML: MAML whose head begins as a prototypical network (Triantafillou et al. 2020)."""

from __future__ import annotations

from typing import Any, Unpack

from torch import nn

from metaft.errors import MetaftError
from metaft.inner.adapt import TaskStart
from metaft.inner.rules import Params
from metaft.learners.compositions.compose import Parts, compose
from metaft.learners.maml import MAML
from metaft.learners.prototype_start import PrototypeStart
from metaft.models.heads import head_name


class ProtoMAML(MAML):
    """MAML whose head is no meta-parameter: each task's begins from the prototypes of its support set.

    The head adapts with whatever the scope chooses.

    Args:
        model: any module whose last block is a linear layer with biases; it is copied.
        parts: as of ``MAML``.

    Raises:
        MetaftError: as ``MAML``, or if the network has no such head, or the rule learns something for each row of it.
    """

    any_ways = True

    def __init__(self, model: nn.Module, *parts: Any, **more: Any) -> None:
        super().__init__(model, *parts, **more)
        if self.kind != "classification":
            raise MetaftError("prototypes are of classes, and this is a regression; use learner 'maml'")
        self.prototypes.require_any_ways(self.rule, self.begun)

    def _divided(self, own: Params) -> tuple[Params, Params]:
        self.prototypes = PrototypeStart(self.model.module, self.model.batch_norm)
        head = self.prototypes.names
        return {n: p for n, p in own.items() if n not in head}, {n: own[n] for n in head}

    def _select(self, own: Params, scope: str, meta_scope: str) -> None:
        # As a new head in fine-tuning, it adapts with whatever is chosen.
        if "!head" not in [part.strip() for part in self.scope.split(",")]:
            head = head_name(self.model.module)
            scope = f"{scope},{f'{head}.' if head else ''}*"
        super()._select(own, scope, meta_scope)

    def _start(self, ways: int, ragged: bool) -> TaskStart | None:
        return self.prototypes.begin(ways, ragged)

    def describe(self) -> dict[str, object]:
        """The settings that identify this learner."""
        return {**super().describe(), "start": "prototypes"}


def proto_maml(model: nn.Module, *, inner_lr: float = 0.1, steps: int = 1, **parts: Unpack[Parts]) -> MAML:
    """All adapt, the head from **each task's prototypes**: all × SGD × task loss × exact.

    Triantafillou et al. 2020, "Meta-Dataset: a dataset of datasets for learning to learn from few examples", §3, eq. 4
    and 5: w_c = 2 μ_c, b_c = −‖μ_c‖². Gradients flow through that start into the body. The head is no meta-parameter
    and has as many rows as a task has ways: a learner trained at 20 ways answers tasks of 5.

    Published, chosen on Meta-Dataset for pretrained networks: α = 0.005, 6 steps, trained on ImageNet alone; nothing on
    Omniglot or mini-ImageNet, and the rate here is ours.

    Deviations: exact, where the paper's tables and code are first-order (``estimator="first-order"``, which still
    differentiates the start). And batch norm's scale and shift adapt, where they do not in the code
    (``scope="all,!*.norm.*"`` on Conv4).

    Args:
        model: any module whose last block is a linear layer with biases; it is copied.
        inner_lr: the inner rate α, on the mean support loss.
        steps: inner steps K in meta-training.
        parts: the other parts are free, see ``Parts``.

    Returns:
        The learner.

    Raises:
        MetaftError: if the network has no such head, or the parts do not go together.
    """
    return compose("proto-maml", model, inner_lr, steps, parts, of=ProtoMAML)
