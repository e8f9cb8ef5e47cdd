"""What linear heads with a penalty on their weights share: its size, and who solves for the minimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from metaft.validate import require_positive


@dataclass(frozen=True)
class Penalised:
    """A linear head whose weights are penalised.

    Args:
        regularisation: λ > 0.
        solver: "batched", or "scikit-learn" (task after task).
    """

    regularisation: float = 1.0
    solver: str = "batched"
    solvers: ClassVar[tuple[str, ...]] = ("batched", "scikit-learn")

    def __post_init__(self) -> None:
        require_positive(self.regularisation, "regularisation")

    def describe(self) -> dict[str, Any]:
        """Its settings, flat."""
        return {"regularisation": self.regularisation, "solver": self.solver}
