"""What a student is taught, by which loss, and which control is put in the teacher's place."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import Tensor

from metaft.distillation.choices import LossChoices
from metaft.distillation.controls import confidence_weights, permuted
from metaft.distillation.losses import (
    labels,
    matching_hidden,
    matching_logits,
    mixed,
    require_alike,
    soft_targets,
)
from metaft.errors import MetaftError


@dataclass(frozen=True)
class DistillationLoss(LossChoices):
    """(1 − w) · what the teacher says + w · what the labels say: the chosen loss, computed."""

    def losses(self, own: Tensor, scores: Tensor, truth: Tensor, taught: Tensor | None, rows: Tensor | None) -> Tensor:
        """The loss of each example; the minibatch's is their mean.

        Args:
            own: what of the student is matched: its scores, or its hidden representation at the teacher's width.
            scores: ``[examples, classes]``, the student's.
            truth: ``int64 [examples]``, the labels.
            taught: like ``own``, the teacher's; None where no teacher is needed.
            rows: ``int64 [examples]``, the examples' numbers in their data set, for "dkpp".

        Returns:
            ``[examples]``.
        """
        hard = labels(scores, truth, self.label_smoothing)
        if taught is None:
            return hard
        return mixed(self._soft(own, taught, hard, rows), hard, self.label_weight)

    def _soft(self, own: Tensor, taught: Tensor, hard: Tensor, rows: Tensor | None) -> Tensor:
        if self.hidden:
            return matching_hidden(own, taught, cosine=self.match == "hidden-cosine")
        require_alike(own, taught)
        if self.control == "cwtm":
            return hard * confidence_weights(taught) * len(hard)  # the mean of these is the weighted sum
        if self.control == "dkpp":
            if rows is None:
                raise MetaftError("control = 'dkpp' needs minibatches that say which examples they hold")
            taught = permuted(taught, rows, self.seed)
        return matching_logits(own, taught) if self.match == "logits" else soft_targets(own, taught, self.temperature)

    def describe(self) -> dict[str, object]:
        """The settings, as JSON-able values."""
        return asdict(self)
