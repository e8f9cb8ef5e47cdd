"""Supervised tuning: the loss of an answer's words (Ouyang et al. 2022, §3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from metaft.preferences.examples import Answers
from metaft.preferences.objective import Data
from metaft.preferences.policy import Params, Policy


@dataclass(frozen=True, kw_only=True)
class SFT:
    """−log p of the answer's words, of nothing else: prompts are read, not learned.

    Args:
        packed: several texts in a row, as many as fit, each seeing itself alone.
    """

    packed: bool = False

    data: ClassVar[Data] = "instructions"
    has_reference: ClassVar[bool] = False
    is_reward: ClassVar[bool] = False

    def losses(
        self, policy: Policy, params: Params, batch: Answers, reference: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `TuningObjective`: a mean over the words of each answer, weighted so that all words count alike."""
        said = policy.log_probabilities(params, batch.query_x, batch.asked, batch.segments)
        words = batch.asked.sum(-1)
        sums = -said.sum(-1)
        return sums / words * batch.weight, {"sum": sums, "words": words.to(sums.dtype)}

    def referred(self, policy: Policy, params: Params, batch: Answers) -> Tensor:
        """Nothing."""
        raise NotImplementedError
