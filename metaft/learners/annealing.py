"""What of the outer objective changes over meta-training, epoch by epoch (MAML++)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from metaft.errors import MetaftError
from metaft.outer.first_order import FirstOrder
from metaft.outer.problem import Estimator


@dataclass(frozen=True)
class Annealing:
    """A loss after every step that narrows to the last, and first-order gradients that become exact.

    Antoniou, Edwards & Storkey 2019, §4, "multi-step loss" and "derivative-order annealing". An epoch is a fraction of
    the run, so that a run limited by time is annealed alike.

    Args:
        epochs: into which the run is divided.
        multi_step: so many of them, from the beginning, have a loss after every step; 0 for none.
        first_order: so many have first-order gradients; 0 for none.

    Raises:
        MetaftError: if there is no epoch, or less than none, or more are annealed than there are.
    """

    epochs: int = 150
    multi_step: int = 10
    first_order: int = 50

    def __post_init__(self) -> None:
        for name, value, least in (("epochs", self.epochs, 1), ("multi_step", self.multi_step, 0),
                                   ("first_order", self.first_order, 0)):  # fmt: skip
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise MetaftError(f"annealing: {name} must be a whole number of at least {least}, not {value!r}")
        for name, value in (("multi_step", self.multi_step), ("first_order", self.first_order)):
            if value > self.epochs:
                raise MetaftError(
                    f"annealing: {name}_epochs {value} are more than the run's {self.epochs} epochs, so what they lead "
                    f"to would never come; take at most {self.epochs} (0 for none), or more epochs"
                )

    def epoch(self, done: float) -> int:
        """The epoch 0, 1, … that begins or goes on after a fraction of the run."""
        return min(math.floor(done * self.epochs + 1e-9), self.epochs - 1)  # 0.29 · 100 is just below 29

    def step_weights(self, steps: int, done: float) -> tuple[float, ...] | None:
        """The weights of the query loss after 0 … K steps: 1/K each at first, ever more of it for the last.

        Args:
            steps: K.
            done: the fraction of the run behind us, in [0, 1].

        Returns:
            K + 1 weights that sum to 1, that of the start 0; None when the last alone counts.
        """
        epoch = self.epoch(done)
        if epoch >= self.multi_step or steps < 2:
            return None
        earlier = (1 - epoch / self.multi_step) / steps
        return (0.0, *(earlier,) * (steps - 1), 1 - (steps - 1) * earlier)

    def estimator(self, own: Estimator, done: float) -> Estimator:
        """The estimator at a point of the run.

        Args:
            own: the one that it becomes.
            done: the fraction of the run behind us.

        Returns:
            The estimator.
        """
        return FirstOrder() if self.epoch(done) < self.first_order else own

    def told(self) -> str:
        """In words, for ``describe``."""
        return f"{self.multi_step} of {self.epochs} epochs multi-step, {self.first_order} first-order"
