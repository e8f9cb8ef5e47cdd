"""A network that learns from a teacher's answers and from labels, as a learner that the training loop can drive."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metaft.distillation.loss import DistillationLoss
from metaft.distillation.teacher import Answers
from metaft.errors import MetaftError
from metaft.learners.supervised import Supervised
from metaft.models.heads import head_name
from metaft.tasks.batch import TaskBatch
from metaft.tasks.minibatches import Minibatch

MAP = "distillation.map"
"""The linear map from the student's hidden representation to the teacher's width; of no use once training is over."""


class Student(Supervised):
    """A classifier that is taught by another one (Hinton et al. 2015; born-again: Furlanello et al. 2018).

    Trained, validated and scored as ``Supervised`` is; only what it descends differs. The teacher is a frozen copy
    (``metaft.distillation.teacher``) that is no part of the parameters.

    Args:
        model: the network, its head as wide as the teacher tells classes apart; copied.
        loss: what is matched, and how the labels count.
        teacher: answers for minibatches (``cached_teacher.answers``); None where labels alone count.

    Raises:
        MetaftError: if the loss needs a teacher and there is none, or the two tell different classes apart.
    """

    name = "student"

    def __init__(self, model: nn.Module, *, loss: DistillationLoss, teacher: Answers | None = None) -> None:
        super().__init__(model, label_smoothing=loss.label_smoothing)
        if loss.needs_teacher and teacher is None:
            raise MetaftError(f"label_weight = {loss.label_weight}: below 1 a teacher is needed, and there is none")
        self.loss = loss
        self.teacher = teacher if loss.needs_teacher else None
        self._head_name = head_name(self.module)
        if self.teacher is not None:
            self._fit(self.teacher.width)

    def losses(self, params: dict[str, Tensor], batch: TaskBatch) -> Tensor:
        """The loss of each image, ``[images]``, in training mode; see ``Supervised.losses``."""
        x, truth = batch.query_x.flatten(0, 1), batch.query_y.flatten()
        rows = batch.rows if isinstance(batch, Minibatch) else None
        taught = self.teacher(batch) if self.teacher is not None else None
        network = {name: value for name, value in params.items() if not name.startswith(MAP)}
        if not self.loss.hidden:
            scores = functional_call(self.module, network, (x,))
            return self.loss.losses(scores, scores, truth, taught, rows)
        seen: list[Tensor] = []
        hook = self._head().register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0]))
        try:
            scores = functional_call(self.module, network, (x,))
        finally:
            hook.remove()
        own = seen[-1]
        if (weight := params.get(f"{MAP}.weight")) is not None:
            own = F.linear(own, weight, params[f"{MAP}.bias"])
        return self.loss.losses(own, scores, truth, taught, rows)

    def network(self) -> dict[str, Tensor]:
        """The parameters and running statistics of the network alone, without what served to teach it."""
        return {name: value for name, value in self.params.items() if not name.startswith(MAP)}

    def _fit(self, width: int) -> None:
        """See that student and teacher go together; where hidden representations differ in width, a map is learned."""
        head = self._head()
        if not self.loss.hidden:
            if head.out_features != width:
                raise MetaftError(
                    f"the student tells {head.out_features} classes apart and the teacher {width}: "
                    "distillation needs the same classes in both"
                )
        elif head.in_features != width:
            # torch's own start of a linear layer, made repeatable
            draw = torch.Generator().manual_seed(self.loss.seed)
            bound = 1 / math.sqrt(head.in_features)
            weight = (2 * torch.rand(width, head.in_features, generator=draw) - 1) * bound
            self.params |= {f"{MAP}.weight": weight, f"{MAP}.bias": torch.zeros(width)}
            self.trains += (f"{MAP}.weight", f"{MAP}.bias")

    def _head(self) -> nn.Linear:
        head = self.module.get_submodule(self._head_name)
        assert isinstance(head, nn.Linear)
        return head

    def describe(self) -> dict[str, object]:
        """The settings that identify this learner, the teacher's weights among them."""
        taught = self.teacher.describe() if self.teacher is not None else {}
        return {**super().describe(), **self.loss.describe(), **taught}
