"""Episodes all of whose ways come from one group of classes, such as the intents of one domain: the harder tasks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metaft.data.texts.labelled_texts import LabelledTokens
from metaft.errors import MetaftError
from metaft.tasks.episodes import Episodes, distinct


@dataclass(frozen=True)
class GroupedEpisodes(Episodes):
    """A group for each task, each as often as another, then ways within it.

    Args:
        within: what a group is called, for the record.

    Raises:
        MetaftError: if there are no groups, or one has too few classes.
    """

    within: str = "group"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.images, LabelledTokens) or not self.images.groups:
            raise MetaftError(f"within = {self.within}: the classes of {self.dataset} are in no groups")
        sizes = dict(zip(self._groups, self._sizes.tolist(), strict=True))
        small = min(sizes, key=sizes.__getitem__)
        if sizes[small] < self.ways:
            raise MetaftError(
                f"{self.ways} ways within one {self.within} asked for, but {small!r} of {self.dataset} ({self.split}) "
                f"has only {sizes[small]} classes"
            )

    @cached_property
    def _groups(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.images.groups)))  # type: ignore[attr-defined]

    @cached_property
    def _members(self) -> list[np.ndarray]:
        groups = np.array(self.images.groups)  # type: ignore[attr-defined]
        return [np.flatnonzero(groups == name) for name in self._groups]

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.array([len(own) for own in self._members])

    @cached_property
    def _table(self) -> np.ndarray:
        """The classes of each group, ``int64 [groups, largest]``; beyond a group's size they repeat."""
        return np.stack([np.resize(own, int(self._sizes.max())) for own in self._members])

    def _classes(self, draw: np.random.Generator, tasks: int) -> np.ndarray:
        chosen = draw.integers(0, len(self._groups), tasks)
        return self._table[chosen[:, None], distinct(draw, tasks, self._sizes[chosen], self.ways)]

    def describe(self) -> dict[str, object]:
        """The settings that identify this family."""
        return {**super().describe(), "family": "grouped episodes", "within": self.within}
