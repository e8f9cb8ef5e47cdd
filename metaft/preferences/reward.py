"""A reward model: which of two answers people like better (Bradley & Terry 1952; Ouyang et al. 2022, eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from metaft.errors import MetaftError
from metaft.preferences.examples import Pairs
from metaft.preferences.objective import Data
from metaft.preferences.policy import Params, Policy
from metaft.preferences.soft_labels import expected


@dataclass(frozen=True, kw_only=True)
class Reward:
    """−log σ(r(chosen) − r(rejected)); the reward is what the network's head makes of the last word's state.

    Args:
        centre: weight of (r(chosen) + r(rejected))², which keeps rewards around 0 (Eisenstein et al. 2023, eq. 2).
        soft_labels: where data say how probable it is that a pair is labelled right (``preference``), take the mean of
            the losses of both labels by it (Lee et al. 2023, §2.2); else every label is certain.

    Raises:
        MetaftError: if the weight is negative.
    """

    centre: float = 0.0
    soft_labels: bool = True
    data: ClassVar[Data] = "preferences"
    has_reference: ClassVar[bool] = False
    is_reward: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.centre >= 0:
            raise MetaftError(f"centre = {self.centre}: a weight, 0 or more")

    def losses(
        self, policy: Policy, params: Params, batch: Pairs, reference: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `TuningObjective`."""
        rewards = policy.rewards(params, batch.ids.flatten(0, 1)).view(-1, 2)
        loss = expected(_bradley_terry, rewards, batch.target if self.soft_labels else None)
        return loss + self.centre * rewards.sum(-1).square(), {"scores": rewards}

    def referred(self, policy: Policy, params: Params, batch: Pairs) -> Tensor:
        """Nothing."""
        raise NotImplementedError


def _bradley_terry(rewards: Tensor) -> Tensor:
    return -F.logsigmoid(rewards[:, 0] - rewards[:, 1])
