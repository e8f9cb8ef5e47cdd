"""Direct preference optimisation: the policy is its own reward model (Rafailov et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from metaft.errors import MetaftError, nearest
from metaft.preferences.examples import Pairs
from metaft.preferences.objective import Data
from metaft.preferences.policy import Params, Policy
from metaft.preferences.soft_labels import expected
from metaft.validate import require_positive

Form = Literal["sigmoid", "ipo", "robust"]


@dataclass(frozen=True, kw_only=True)
class DPO:
    """−log σ(β · margin), margin = log π/π_ref of the chosen answer less that of the rejected one (eq. 7).

    Args:
        beta: how much a departure from the reference costs; with "ipo" the τ of its paper.
        label_smoothing: share of pairs that are taken to be labelled the wrong way round (Mitchell 2023).
        form: "sigmoid"; "ipo", (margin − 1/2β)², which stops where the margin is large enough (Azar et al. 2023, eq.
            17); or "robust", unbiased if so many labels are wrong (Chowdhury et al. 2024, eq. 12).
        normalised: take the mean over an answer's words in place of the sum, so that length alone is worth nothing.
        soft_labels: where data say how probable it is that a pair is labelled right (``preference``), take the mean of
            the losses of both labels by it; else every label is certain.

    Raises:
        MetaftError: if an option is out of range, or "ipo" is to smooth labels.
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    form: Form = "sigmoid"
    normalised: bool = False
    soft_labels: bool = True
    data: ClassVar[Data] = "preferences"
    has_reference: ClassVar[bool] = True
    is_reward: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive(self.beta, "beta")
        if self.form not in get_args(Form):
            raise MetaftError(f"unknown form {self.form!r} of DPO{nearest(self.form, get_args(Form))}")
        if not 0 <= self.label_smoothing < 0.5:
            raise MetaftError(f"label_smoothing = {self.label_smoothing}: from 0 to less than a half")
        if self.form == "ipo" and self.label_smoothing:
            raise MetaftError("form = ipo: it has no use for label_smoothing; leave it out")

    def losses(
        self, policy: Policy, params: Params, batch: Pairs, reference: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `TuningObjective`; ``scores`` are the implicit rewards β log π/π_ref."""
        assert reference is not None
        ratio = self.referred(policy, params, batch) - reference
        return expected(self.loss, ratio, batch.target if self.soft_labels else None), {"scores": self.beta * ratio}

    def loss(self, ratio: Tensor) -> Tensor:
        """The loss of pairs.

        Args:
            ratio: ``[pairs, 2]``, log π/π_ref of the chosen and of the rejected answer.

        Returns:
            ``[pairs]``.
        """
        margin = ratio[:, 0] - ratio[:, 1]
        if self.form == "ipo":
            return (margin - 1 / (2 * self.beta)).square()
        right, wrong, share = F.logsigmoid(self.beta * margin), F.logsigmoid(-self.beta * margin), self.label_smoothing
        if self.form == "robust":
            return (share * wrong - (1 - share) * right) / (1 - 2 * share)
        return -(1 - share) * right - share * wrong

    def referred(self, policy: Policy, params: Params, batch: Pairs) -> Tensor:
        """log π of both answers, ``[pairs, 2]``."""
        ids, asked = batch.ids.flatten(0, 1), batch.asked.flatten(0, 1)
        sums = policy.log_probabilities(params, ids, asked).sum(-1)
        return (sums / asked.sum(-1) if self.normalised else sums).view(-1, 2)
