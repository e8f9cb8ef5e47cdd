"""What a student is taught, by which loss, and which control is put in the teacher's place."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from torch import Tensor

from metaft.distillation.controls import confidence_weights, permuted
from metaft.distillation.losses import (
    labels,
    matching_hidden,
    matching_logits,
    mixed,
    require_alike,
    require_temperature,
    require_weight,
    soft_targets,
)
from metaft.errors import MetaftError, nearest
from metaft.seeds import require_seed

Match = Literal["soft", "logits", "hidden", "hidden-cosine"]
Control = Literal["none", "dkpp", "cwtm"]


@dataclass(frozen=True)
class DistillationLoss:
    """(1 − w) · what the teacher says + w · what the labels say.

    Args:
        match: what of the teacher is matched: "soft" targets, "logits", "hidden" representations (those the head is
            given) or their directions, "hidden-cosine".
        temperature: T of the soft targets; the loss carries T².
        label_weight: w in [0, 1]: 0 is the teacher alone, 1 the labels alone.
        control: "none"; "dkpp", the teacher's scores but the largest permuted; or "cwtm", where what the teacher says
            is replaced by the labels, each example weighed by how sure the teacher is of it.
        label_smoothing: of the labels, in [0, 1).
        seed: of the control's permutations.

    Raises:
        MetaftError: if a number is out of range, a name is unknown, or two settings do not go together.
    """

    match: Match = "soft"
    temperature: float = 4.0
    label_weight: float = 0.0
    control: Control = "none"
    label_smoothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("match", Match), ("control", Control)):
            given = getattr(self, name)
            if given not in get_args(known):
                raise MetaftError(f"unknown {name} {given!r}{nearest(str(given), get_args(known))}")
        require_temperature(self.temperature)
        require_weight(self.label_weight)
        require_seed(self.seed)
        if not 0 <= self.label_smoothing < 1:
            raise MetaftError(f"label_smoothing must lie in [0, 1), not {self.label_smoothing!r}")
        if self.hidden and self.label_weight == 0:
            raise MetaftError(
                f"match = {self.match!r} leaves the student's head to the labels: label_weight must be above 0"
            )
        if self.hidden and self.control != "none":
            raise MetaftError(
                f"control = {self.control!r} is of a teacher's scores, and match = {self.match!r} of none"
            )

    @property
    def hidden(self) -> bool:
        """Whether hidden representations are matched, not scores."""
        return self.match.startswith("hidden")

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher is asked at all."""
        return self.label_weight < 1

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
