"""What an outer optimiser is."""

# Annotations are objects here, not text: a subclass of another module need not import them for its options to be read.
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from metaft.training.schedule import Schedule, learning_rate

State = dict[str, Tensor]
"""What is kept about one weight from update to update, by name."""


@dataclass(frozen=True, kw_only=True)
class OuterOptimiser(ABC):
    """An outer optimiser; its fields are its options.

    Args:
        lr: the learning rate at the start.
        schedule: its course over the run: "constant", "cosine" or "linear", down to 0.
        warmup: the fraction of the run in which the rate rises from 0.
    """

    lr: float = 1e-3
    schedule: Schedule = "constant"
    warmup: float = 0.0

    def rate(self, done: float) -> float:
        """The learning rate at a point of the run.

        Args:
            done: the fraction of the run behind us, in [0, 1].

        Returns:
            The rate of the next update.
        """
        return learning_rate(self.lr, self.schedule, done, self.warmup)

    @abstractmethod
    def start(self, weight: Tensor) -> State:
        """What is kept about a weight before its first update."""

    def like(self, weight: Tensor) -> State:
        """Tensors of the shapes and types of what is kept about a weight after an update."""
        return self.start(weight)

    @abstractmethod
    def step(self, weights: Sequence[Tensor], grads: Sequence[Tensor], kept: Sequence[State], lr: float) -> None:
        """One update in place, of the weights and of what is kept about them.

        Args:
            weights: what trains.
            grads: their gradients, in the same order.
            kept: likewise.
            lr: the learning rate.
        """

    def compiled(self, names: tuple[str, ...], clip: float | None) -> Any | None:
        """The same as one function of tensors, to be compiled with the gradient (see `AdamUpdate`), if there is one.

        Args:
            names: of the weights, in the order of their numbers.
            clip: the largest norm of the gradient, or None.
        """
        return None
