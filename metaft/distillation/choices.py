"""What a student is taught, and what numbers that takes: checked without torch, as ``--help`` asks too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from metaft.errors import MetaftError, nearest
from metaft.seeds import require_seed

Match = Literal["soft", "logits", "hidden", "hidden-cosine"]
Control = Literal["none", "dkpp", "cwtm"]


@dataclass(frozen=True)
class LossChoices:
    """(1 − w) · what the teacher says + w · what the labels say.

    Args:
        match: what of the teacher is matched: "soft" targets, "logits", "hidden" representations (those the head is
            given) or their directions, "hidden-cosine".
        temperature: T of the soft targets; the loss carries T².
        label_weight: w in [0, 1]: 0 is the teacher alone, 1 the labels alone.
        control: "none"; "dkpp", the teacher's scores but the largest permuted; or "cwtm", where what the teacher says
            is replaced by the labels, each example weighed by how sure the teacher is of it.
        label_smoothing: of the labels, in [0, 1).
        seed: of the control's permutations.

    Raises:
        MetaftError: if a number is out of range, a name is unknown, or two settings do not go together.
    """

    match: Match = "soft"
    temperature: float = 4.0
    label_weight: float = 0.0
    control: Control = "none"
    label_smoothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("match", Match), ("control", Control)):
            given = getattr(self, name)
            if given not in get_args(known):
                raise MetaftError(f"unknown {name} {given!r}{nearest(str(given), get_args(known))}")
        require_temperature(self.temperature)
        require_weight(self.label_weight)
        require_seed(self.seed)
        if not 0 <= self.label_smoothing < 1:
            raise MetaftError(f"label_smoothing must lie in [0, 1), not {self.label_smoothing!r}")
        if self.hidden and self.label_weight == 0:
            raise MetaftError(
                f"match = {self.match!r} leaves the student's head to the labels: label_weight must be above 0"
            )
        if self.hidden and self.control != "none":
            raise MetaftError(
                f"control = {self.control!r} is of a teacher's scores, and match = {self.match!r} of none"
            )

    @property
    def hidden(self) -> bool:
        """Whether hidden representations are matched, not scores."""
        return self.match.startswith("hidden")

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher is asked at all."""
        return self.label_weight < 1


def require_temperature(temperature: float) -> None:
    """Refuse a temperature that is not a positive, finite number.

    Raises:
        MetaftError: then.
    """
    if isinstance(temperature, bool) or not (math.isfinite(temperature) and temperature > 0):
        raise MetaftError(f"temperature must be a number above 0, not {temperature!r}; usual are 1 to 20")


def require_weight(label_weight: float) -> None:
    """Refuse a weight of the labels outside [0, 1].

    Raises:
        MetaftError: then.
    """
    if not 0 <= label_weight <= 1:
        raise MetaftError(
            f"label_weight must lie in [0, 1], not {label_weight!r}: 0 is the teacher alone, 1 the labels alone"
        )
