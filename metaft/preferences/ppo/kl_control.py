"""The coefficient β of the distance to the reference, from one rollout to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from metaft.errors import MetaftError
from metaft.validate import require_positive


class KLControl(Protocol):
    """A rule for β; the number is all that there is to keep."""

    def start(self) -> float:
        """β of the first rollout."""
        ...

    def after(self, beta: float, kl: float) -> float:
        """β of the next rollout.

        Args:
            beta: of this one.
            kl: measured in it: of whole texts, the mean of their sums over words, in nats.
        """
        ...


@dataclass(frozen=True)
class FixedKL:
    """β stays as it is.

    Args:
        coefficient: β; 0 for no distance.
    """

    coefficient: float = 0.05

    def __post_init__(self) -> None:
        if self.coefficient != 0:
            require_positive(self.coefficient, "coefficient")

    def start(self) -> float:
        """As of `KLControl`."""
        return self.coefficient

    def after(self, beta: float, kl: float) -> float:
        """As of `KLControl`."""
        return beta


@dataclass(frozen=True)
class AdaptiveKL:
    """β grows where the distance is above its target: β ← β (1 + K · clip(KL/target − 1, −0.2, 0.2)).

    Ziegler et al. 2019, §2.2.

    Args:
        initial: the first β.
        target: of the distance, in nats a text.
        gain: K.
        largest: the largest share of error that counts.
    """

    initial: float = 0.1
    target: float = 6.0
    gain: float = 0.1
    largest: float = 0.2

    def __post_init__(self) -> None:
        for name in ("initial", "target", "gain", "largest"):
            require_positive(getattr(self, name), name)
        if self.gain * self.largest >= 1:
            raise MetaftError(
                f"gain · largest = {self.gain * self.largest:g} could make β negative; it must be below 1"
            )

    def start(self) -> float:
        """As of `KLControl`."""
        return self.initial

    def after(self, beta: float, kl: float) -> float:
        """As of `KLControl`."""
        error = min(max(kl / self.target - 1, -self.largest), self.largest)
        return beta * (1 + self.gain * error)
