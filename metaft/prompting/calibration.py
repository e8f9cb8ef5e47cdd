"""Calibration: what a prompt leads to without an input is taken out of what it leads to with one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor


class Calibration(Protocol):
    """A change of log-probabilities that hangs on the prompt, not on the truth."""

    transductive: ClassVar[bool]

    def asks(self) -> tuple[str, ...]:
        """Inputs that the same prompt is asked about beside the queries."""
        ...

    def __call__(self, scores: Tensor, behind: Tensor, prior: Callable[[], Tensor]) -> Tensor:
        """Change them.

        Args:
            scores: log-probabilities of the classes, ``[queries, ways]``.
            behind: those of the inputs that it asks about, ``[inputs, ways]``.
            prior: tells those without demonstrations and input, ``[ways]``.

        Returns:
            ``[queries, ways]``.
        """
        ...


@dataclass(frozen=True)
class Contextual:
    """Divided by the mean probability behind inputs without content (Zhao et al. 2021, §5).

    W = diag(p̂)⁻¹, b = 0, where p̂ is the normalised probability of the classes. Classes of several words are allowed.

    Args:
        inputs: without content, parted by ``|``.
    """

    inputs: str = "N/A|[MASK]|"
    transductive: ClassVar[bool] = False

    def asks(self) -> tuple[str, ...]:
        """As `Calibration`."""
        return tuple(self.inputs.split("|"))

    def __call__(self, scores: Tensor, behind: Tensor, prior: Callable[[], Tensor]) -> Tensor:
        """As `Calibration`."""
        behind = behind.log_softmax(-1)
        return scores.log_softmax(-1) - (behind.logsumexp(0) - math.log(len(behind)))


@dataclass(frozen=True)
class Domain:
    """Divided by the probability behind the pattern's end alone (PMI by domain, Holtzman et al. 2021, eq. 4)."""

    transductive: ClassVar[bool] = False

    def asks(self) -> tuple[str, ...]:
        """None."""
        return ()

    def __call__(self, scores: Tensor, behind: Tensor, prior: Callable[[], Tensor]) -> Tensor:
        """As `Calibration`."""
        return scores - prior()


@dataclass(frozen=True)
class Batch:
    """Divided by the mean probability over all queries (Zhou et al. 2024, eq. 4), which is transductive."""

    transductive: ClassVar[bool] = True

    def asks(self) -> tuple[str, ...]:
        """None."""
        return ()

    def __call__(self, scores: Tensor, behind: Tensor, prior: Callable[[], Tensor]) -> Tensor:
        """As `Calibration`."""
        found = scores.log_softmax(-1)
        return found - (found.logsumexp(0) - math.log(len(found)))
