"""Rows of numbers as a learner takes them: the columns it was trained on, scaled as they were."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaft.errors import MetaftError, nearest
from metaft.tasks.table import Columns


@dataclass(frozen=True)
class NumberInputs:
    """Arrays and frames as ``[rows, features]``.

    Args:
        columns: of a run on a table, which they are and how they were scaled; None for rows as they are.
        exact: keep float64, for learners without a network.
    """

    columns: Columns | None = None
    exact: bool = False
    kind = "numbers"

    def read(self, given: Any) -> Tensor:
        """As `Inputs`.

        Args:
            given: ``[rows, features]``, finite; scikit-learn has looked at it.

        Returns:
            ``float32 [rows, features]``, or float64.
        """
        values = np.asarray(given, dtype=np.float64)
        if self.columns is not None:
            mean, deviation = self._scale(slice(0, len(self.columns.features)))
            values = (values - mean) / deviation
        return self._tensor(values)

    def read_targets(self, given: np.ndarray) -> Tensor:
        """Targets as the learner takes them.

        Args:
            given: ``[rows, targets]``.

        Returns:
            Likewise, scaled.
        """
        mean, deviation = self._of_targets()
        return self._tensor((given - mean) / deviation)

    def targets(self, answers: Tensor) -> np.ndarray:
        """Answers in the user's own units.

        Args:
            answers: ``[rows, targets]``.
        """
        mean, deviation = self._of_targets()
        return np.asarray(answers.double().numpy() * deviation + mean)

    def select(self, frame: Any) -> Any:
        """The columns of a frame that the learner was trained on, in their order.

        Args:
            frame: of pandas, or any with ``columns`` and rows of them by ``frame[names]``.

        Raises:
            MetaftError: naming a column that is absent.
        """
        if self.columns is None or not hasattr(frame, "columns"):
            return frame
        known = [str(name) for name in frame.columns]
        for name in self.columns.features:
            if name not in known:
                raise MetaftError(
                    f"there is no column {name!r}, which the learner was trained on{nearest(name, known)}"
                )
        return frame[list(self.columns.features)]

    def describe(self) -> dict[str, Any]:
        """Its settings."""
        return {
            "kind": self.kind,
            "columns": None if self.columns is None else asdict(self.columns),
            "exact": self.exact,
        }

    def _of_targets(self) -> tuple[Any, Any]:
        return (0.0, 1.0) if self.columns is None else self._scale(slice(len(self.columns.features), None))

    def _scale(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        assert self.columns is not None
        return np.array(self.columns.means[part]), np.array(self.columns.deviations[part])

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(values)).to(torch.float64 if self.exact else torch.float32)
