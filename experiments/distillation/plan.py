"""What plan.toml plans: every run with its settings and folder, and what is scored on few-shot tasks."""

from __future__ import annotations

import itertools
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.plans import require_same, state_of
from metaft.runs.recorded import option_words

SHOWN = Path("runs/distillation")
"""The work folder that recorded commands name, wherever the runs really lie."""


@dataclass(frozen=True)
class Experiment:
    """One of the things that are to be shown.

    Args:
        name: of the table.
        title: of its section.
        all: settings of every run.
        runs: by name, ``command`` and the settings of its own.
        levels: setting → values; every run is made at each of them.
        seeds: the most seeds it is made with; None for as many as are asked for.
        short: settings of a trial.
        score: ``tasks``, ``short_tasks``, and either ``learners`` or ``heads`` and ``networks``.
        published: numbers of the paper.
    """

    name: str
    title: str
    all: Mapping[str, Any]
    runs: Mapping[str, Mapping[str, Any]]
    levels: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    seeds: int | None = None
    short: Mapping[str, Any] = field(default_factory=dict)
    score: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One command with one seed.

    Args:
        experiment: what it belongs to.
        name: in the experiment.
        level: the settings that vary between levels; empty where none do.
        seed: of the run.
        settings: all that it is told.
        runs: the work folder.
        follows: whether it starts from another run, and waits for it.
    """

    experiment: str
    name: str
    level: Mapping[str, Any]
    seed: int
    settings: Mapping[str, Any]
    runs: Path
    follows: bool

    @property
    def folder(self) -> Path:
        """Its run directory."""
        return self.runs / self.experiment / folder_name(self.name, self.level, self.seed)

    @property
    def label(self) -> str:
        """For reports."""
        return f"{self.experiment} {self.folder.name}"

    @property
    def state(self) -> str:
        """Of its run directory: "absent", "running", "stopped", "failed" or "finished"."""
        return state_of(self.folder)

    @property
    def words(self) -> list[str]:
        """The command that begins it, or goes on with it."""
        command, out = str(self.settings["command"]), ["--out", str(self.folder), "--quiet"]
        return [command, *(_options(self.settings) if self.state == "absent" else ["--resume"]), *out]

    @property
    def shown(self) -> str:
        """The command as a line for a shell, whatever folder it was really made in."""
        words = ["metaft", str(self.settings["command"]), *_options(self.settings), "--out", str(self.folder)]
        return shlex.join(words).replace(str(self.runs), str(SHOWN))


def read_plan(file: Path) -> dict[str, Experiment]:
    """Read the experiments.

    Args:
        file: the TOML file.

    Returns:
        By name, in the order of the file.
    """
    tree = tomllib.loads(file.read_text(encoding="utf-8"))
    return {name: Experiment(name, **entry) for name, entry in tree.items()}


def plan(experiment: Experiment, seeds: int, short: bool, runs: Path) -> list[Run]:
    """All runs of an experiment, seed by seed, so that one that is cut short has all of fewer seeds.

    Args:
        experiment: which.
        seeds: how many.
        short: whether this is a trial.
        runs: the work folder.

    Returns:
        The runs; those that others start from first.

    Raises:
        MetaftError: if a setting is unknown or out of range, or a run was made with other settings before.
    """
    found = []
    for seed in range(min(seeds, experiment.seeds or seeds)):
        for values in itertools.product(*experiment.levels.values()):
            level = dict(zip(experiment.levels, values, strict=True))
            place = {name: runs / experiment.name / folder_name(name, level, seed) for name in experiment.runs}
            for name, own in experiment.runs.items():
                made = {**experiment.all, **level, **own, "seed": seed}
                if short:
                    # Lengths that only some runs have stay theirs.
                    made |= {k: v for k, v in experiment.short.items() if not k.startswith("teacher_") or k in made}
                filled = {key: filled_in(value, place) for key, value in made.items()}
                found.append(Run(experiment.name, name, level, seed, filled, runs, filled != made))
    for run in found:
        given = {name: value for name, value in run.settings.items() if name != "command"}
        # A work folder may be called by another name, or from another place, than when its runs were made.
        alike = lambda value: value.replace(str(runs), str(SHOWN)) if isinstance(value, str) else value
        require_same(run.folder, str(run.settings["command"]), given, alike)
    return sorted(found, key=lambda run: run.follows)


def folder_name(name: str, level: Mapping[str, Any], seed: int | str) -> str:
    """Of a run: ``generations-0.4-2``."""
    return "-".join([name, *(str(value) for value in level.values()), str(seed)])


def filled_in(value: Any, places: Mapping[str, object]) -> Any:
    """A setting with the folders of other runs in it."""
    if not isinstance(value, str):
        return value
    return re.sub(r"\{([\w-]+)\}", lambda m: str(places.get(m[1], m[0])), value)


def scored(experiment: Experiment, runs: Path) -> dict[str, str]:
    """The learners that are scored on few-shot tasks: label → as ``metaft compare`` names it, ``{seed}`` left open."""
    score = experiment.score
    place = {name: runs / experiment.name / folder_name(name, {}, "{seed}") for name in experiment.runs}
    if "learners" in score:
        return {label: str(filled_in(spec, place)) for label, spec in score["learners"].items()}
    return {
        f"{network} + {head}": f"{spec},backbone={filled_in(where, place)}"
        for head, spec in score.get("heads", {}).items()
        for network, where in score["networks"].items()
    }


def _options(settings: Mapping[str, Any]) -> list[str]:
    return [word for name, value in settings.items() if name != "command" for word in option_words(name, value)]
