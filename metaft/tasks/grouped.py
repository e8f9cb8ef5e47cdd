"""Episodes all of whose ways come from one group of classes, such as the intents of one domain: the harder tasks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metaft.data.notes import say
from metaft.data.texts.labelled_texts import LabelledTokens
from metaft.errors import MetaftError
from metaft.tasks.episodes import Episodes, distinct


@dataclass(frozen=True)
class GroupedEpisodes(Episodes):
    """A group for each task, each as often as another, then ways within it.

    A group of fewer classes than a task has ways is left out, and it is said which.

    Args:
        within: what a group is called, for the record.

    Raises:
        MetaftError: if there are no groups, or all have too few classes.
    """

    within: str = "group"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.images, LabelledTokens) or not self.images.groups:
            raise MetaftError(f"within = {self.within}: the classes of {self.dataset} are in no groups")
        sizes = Counter(self.images.groups)
        if not self._groups:
            large = max(sizes, key=sizes.__getitem__)
            raise MetaftError(
                f"{self.ways} ways within one {self.within} asked for, but {large!r} of {self.dataset} ({self.split}), "
                f"the largest, has only {sizes[large]} classes"
            )
        if small := sorted(set(sizes) - set(self._groups)):
            listed = ", ".join(f"{name} ({sizes[name]})" for name in small)
            say(f"{self.dataset} ({self.split}): left out, having fewer than {self.ways} classes: {listed}")

    @cached_property
    def _groups(self) -> tuple[str, ...]:
        sizes: Counter[str] = Counter(self.images.groups)  # type: ignore[attr-defined]
        return tuple(sorted(name for name, classes in sizes.items() if classes >= self.ways))

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
