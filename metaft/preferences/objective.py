"""What a tuning objective is."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from torch import Tensor

from metaft.preferences.policy import Params, Policy

Data = Literal["instructions", "preferences", "prompts"]


class TuningObjective(Protocol):
    """What tuning descends, a loss for each example: an answer, or a pair of them."""

    @property
    def data(self) -> Data:
        """What it is tuned by."""
        ...

    @property
    def has_reference(self) -> bool:
        """Whether the start is asked too, which never moves: the reference policy."""
        ...

    @property
    def is_reward(self) -> bool:
        """Whether the network's head is asked what a text is worth, and not which words it says."""
        ...

    def losses(
        self, policy: Policy, params: Params, batch: Any, reference: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each example.

        Args:
            policy: the network.
            params: its parameters.
            batch: the examples.
            reference: what `referred` gave of them at the start; None if nothing is asked of it.

        Returns:
            ``[examples]``, and what else is to be told of each, by name; ``scores`` are ``[examples, 2]`` of a pair.
        """
        ...

    def referred(self, policy: Policy, params: Params, batch: Any) -> Tensor:
        """What of the start is needed, ``[examples, …]``."""
        ...
