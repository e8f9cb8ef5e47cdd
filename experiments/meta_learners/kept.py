"""What a page told before: its trainings need not be made again to add others, wherever they were made."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.meta_learners.facts import Facts
from experiments.meta_learners.plan import Course, Method, Training
from experiments.meta_learners.scores import Scored
from experiments.pages import short_name
from metaft.errors import MetaftError


@dataclass(frozen=True)
class Kept:
    """Trainings that a page tells of, and their scores.

    Args:
        commands: by the training's name.
        digests: likewise, of what each was told (see `Training.digest`); the first pages have none.
        facts: by method and course, one a seed.
        scores: with those seeds.
        remarks: sentences on how they were made.
        origins: commit, versions, machine and date of each page that they were first told by.
    """

    commands: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[tuple[str, str], list[Facts]] = field(default_factory=dict)
    scores: tuple[Scored, ...] = ()
    remarks: tuple[str, ...] = ()
    origins: tuple[Mapping[str, Any], ...] = ()

    @property
    def seeds(self) -> int:
        """One more than the highest."""
        return 1 + max((int(name.rpartition(" ")[2]) for name in self.commands), default=-1)

    def elsewhere(self, processor: str) -> list[str]:
        """Names of the trainings that ran on another processor.

        Args:
            processor: as `short_name` gives it.

        Returns:
            Those of which the page tells.
        """
        ran = {f"{key} {course} seed {one.seed}": one.processor
               for (key, course), several in self.facts.items() for one in several}  # fmt: skip
        return [name for name in self.commands if ran.get(name) != processor]

    def without(self, names: Collection[str]) -> Kept:
        """What is told but for some trainings, so that they are made again (see `of`).

        Args:
            names: of trainings.

        Returns:
            The rest.
        """
        left = lambda several: {name: told for name, told in several.items() if name not in names}
        return replace(self, commands=left(self.commands), digests=left(self.digests))

    def of(self, trainings: Iterable[Training], courses: Mapping[str, Course], methods: Mapping[str, Method]) -> Kept:
        """What is told of some trainings, of each only if it was made with the same settings.

        Args:
            trainings: planned now.
            courses: all, by name.
            methods: all, by key.

        Returns:
            The rest is left out.
        """
        same = [one for one in trainings if self._tells_of(one) and self._scored(one)]
        seeds: dict[tuple[str, str], list[int]] = {}
        for training in same:
            seeds.setdefault((training.method.key, training.course.name), []).append(training.seed)
        facts = {name: [one for one in self.facts[name] if one.seed in several] for name, several in seeds.items()}
        scores = []
        for score in self.scores:
            courses_of = methods[score.key].courses if score.key in methods else ()
            course = next((name for name in courses_of if score.suite in courses[name].scored), "")
            if (one := score.of_seeds(seeds.get((score.key, course), []))) is not None:
                scores.append(one)
        commands, digests = ({one.name: said(one) for one in same} for said in (Training.command, Training.digest))
        return replace(self, commands=commands, digests=digests, facts=facts, scores=tuple(scores))

    def _tells_of(self, training: Training) -> bool:
        """Whether it was made with the same settings."""
        if training.name in self.digests:
            return self.digests[training.name] == training.digest()
        return self.commands.get(training.name) == training.command()

    def _scored(self, training: Training) -> bool:
        """Whether all its scores are told: what is not cannot be scored without the training."""
        several = [one for one in self.scores if one.key == training.method.key and one.suite in training.course.scored]
        return {one.suite for one in several} == set(training.course.scored) and all(
            training.seed in one.seeds for one in several
        )


def read_kept(file: Path) -> Kept:
    """Read the JSON beside a page.

    Args:
        file: ``results/meta_learners.json``, or another that `experiments.meta_learners` wrote.

    Returns:
        All that it tells.

    Raises:
        MetaftError: if there is no such file, or it is another one.
    """
    if not file.exists():
        raise MetaftError(f"there is no {file} to add to; leave --add out")
    try:
        page: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        processor = short_name(str(page["machine"]["cpu"]))
        facts: dict[tuple[str, str], list[Facts]] = {}
        for name, told in page["results"]["trainings"].items():
            key, _, course = name.rpartition(" ")
            # The first pages tell of one machine, and of seeds 0, 1, … in order.
            entries = [{"seed": number, "processor": processor, **one} for number, one in enumerate(told["seeds"])]
            facts[key, course] = [Facts.from_json(entry) for entry in entries]
        scores = [Scored.from_json(name, entry) for name, entry in page["results"]["scores"].items()]
        made = {name: page[name] for name in ("commit", "versions", "machine", "date")}
        return Kept(dict(page["commands"]), dict(page.get("digests", {})), facts, tuple(scores),
                    tuple(page.get("remarks", ())), (*page.get("origins", ()), made))  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise MetaftError(f"{file} is not what experiments.meta_learners writes ({error!r}); leave --add out") from None
