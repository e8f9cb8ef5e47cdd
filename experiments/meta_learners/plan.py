"""What plan.toml plans: courses, methods, and every single training with its settings and folder."""

from __future__ import annotations

import hashlib
import itertools
import json
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.plans import require_same, state_of
from metaft.commands.sweep.record import RECORD, read_grid_of
from metaft.commands.sweep.record import state_of as sweep_state
from metaft.errors import MetaftError, nearest
from metaft.runs.recorded import option_words
from metaft.settings.config import RunConfig, validated
from metaft.tables import META_TRAINED


@dataclass(frozen=True)
class Suite:
    """Test tasks, the same for all that are scored on them.

    Args:
        name: of a course's ``scored``.
        shots: support examples a class (or points).
        words: further options of ``metaft compare``.
    """

    name: str
    shots: Sequence[int]
    words: Sequence[str]

    def places(self) -> list[str]:
        """The columns of the table, and the keys of published numbers: ``5-way 1-shot``, …"""
        if self.name == "sinusoid":
            return [f"{shots} shots, step {step}" for shots in self.shots for step in (1, 10)]
        return [f"{self.name} {shots}-shot" for shots in self.shots]


ASKED_MINUTES, ASKED_SCHEME = {"5-way": 10.0, "sinusoid": 0.7}, "maml"
PLAN = tomllib.loads(Path(__file__).with_name("plan.toml").read_text(encoding="utf-8"))
SUITES = {name: Suite(name, **entry) for name, entry in PLAN["suites"].items()}


@dataclass(frozen=True)
class Course:
    """What is trained on.

    Args:
        name: of the table.
        settings: of ``metaft meta-train``.
        scored: names of the suites.
        every: iterations between validations for each minute of training: a longer one has as many, not more.
    """

    name: str
    settings: Mapping[str, Any]
    scored: Sequence[str]
    every: int


@dataclass(frozen=True)
class Method:
    """One method.

    Args:
        key: of its row in the file; what ``--learner`` calls it, unless ``learner`` says otherwise.
        label: what tables call it.
        source: its paper.
        courses: names of the courses it is trained on.
        settings: by course, what differs from its own defaults.
        choose: by course, setting → values to try on validation classes.
        also: the other mode of batch norm that it is scored in, besides its own.
        test_steps: by course, inner steps at test; else as in training.
        eager_below: by course, the minutes of training below which compiling costs more than it gains.
        published: by place (see `Suite.places`), and ``mode``, ``source``, ``tasks`` (seen in training, by course) and
            ``notes`` (what else the published training or test had, by course).
        learner: what ``--learner`` calls it, where several rows are of one learner.
    """

    key: str
    label: str
    source: str
    courses: Sequence[str]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    choose: Mapping[str, Mapping[str, list[Any]]] = field(default_factory=dict)
    also: str = "inductive"
    test_steps: Mapping[str, int] = field(default_factory=dict)
    eager_below: Mapping[str, float] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
    learner: str = ""

    @property
    def trained_as(self) -> str:
        """What ``--learner`` calls it."""
        return self.learner or self.key


@dataclass(frozen=True)
class Training:
    """One training of one seed.

    Args:
        method: which.
        course: on what.
        seed: of weights and tasks.
        minutes: its time.
        settings: all that it is told.
        folder: its run directory.
    """

    method: Method
    course: Course
    seed: int
    minutes: float
    settings: Mapping[str, Any]
    folder: Path

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.method.key} {self.course.name} seed {self.seed}"

    def words(self) -> list[str]:
        """The options of ``metaft meta-train``, without ``--out``."""
        return [word for name, value in self.settings.items() for word in option_words(name, value)]

    def command(self) -> str:
        """As a line for a shell, whatever folder it was really made in."""
        out = f"runs/meta_learners/{self.folder.parent.name}/{self.folder.name}"
        return shlex.join(["metaft", "meta-train", *self.words(), "--out", out])

    def digest(self) -> str:
        """Of all that its numbers depend on: what it is told, defaults of its method included, and how it is scored."""
        told = validated(RunConfig, self.settings).model_dump(mode="json", exclude_defaults=True)
        steps = self.method.test_steps.get(self.course.name)
        scored = [(name, SUITES[name].words, self.method.also) for name in self.course.scored]
        return hashlib.sha256(json.dumps([told, steps, scored], sort_keys=True).encode()).hexdigest()

    @property
    def scheme(self) -> str | None:
        """How its characters were divided; None where it has none."""
        return self.settings.get("scheme")

    def state(self) -> str:
        """Of its run directory: "absent", "running", "stopped", "failed" or "finished"."""
        return state_of(self.folder)


def read_plan(file: Path) -> tuple[dict[str, Course], dict[str, Method]]:
    """Read the courses and methods.

    Args:
        file: the TOML file.

    Returns:
        Both by name, in the order of the file.
    """
    tree = tomllib.loads(file.read_text(encoding="utf-8"))
    courses = {name: Course(name, **entry) for name, entry in tree["courses"].items()}
    return courses, {key: Method(key, **entry) for key, entry in tree["methods"].items()}


def with_scheme(courses: Mapping[str, Course], scheme: str) -> dict[str, Course]:
    """The courses with Omniglot's characters divided in a given way.

    Args:
        courses: by name.
        scheme: of ``metaft.data.splits.SCHEMES``.

    Returns:
        All of them, those on other data as they are.
    """
    divided = {name: {"scheme": scheme} for name, one in courses.items() if one.settings["dataset"] == "omniglot"}
    return {name: replace(one, settings={**one.settings, **divided.get(name, {})}) for name, one in courses.items()}


def stem(minutes: Mapping[str, float], scheme: str) -> str:
    """What the pages are called: ``meta_learners`` for what is asked, another name for other times or another split.

    Args:
        minutes: of one training, by course.
        scheme: how characters are divided.

    Returns:
        A file's name without its end.
    """
    omniglot = f"-{minutes['5-way']:g}min" if minutes["5-way"] != ASKED_MINUTES["5-way"] else ""
    waves = f"-sinusoid-{minutes['sinusoid']:g}min" if minutes["sinusoid"] != ASKED_MINUTES["sinusoid"] else ""
    return "meta_learners" + omniglot + waves + (f"-{scheme}" if scheme != ASKED_SCHEME else "")


def plan(
    methods: Sequence[Method], courses: Mapping[str, Course], seeds: int, minutes: Mapping[str, float], runs: Path
) -> tuple[list[Training], dict[str, str]]:
    """Every training, seed by seed, so that a plan that is cut short has all methods with fewer seeds.

    Args:
        methods: which, in order.
        courses: which, by name.
        seeds: how many.
        minutes: of one training, by course.
        runs: the work folder.

    Returns:
        The trainings, and the methods that cannot be trained with the reason.

    Raises:
        MetaftError: if one of them was trained with other settings before.
    """
    found, refused = [], {}
    for seed, course, method in itertools.product(range(seeds), courses.values(), methods):
        if course.name in method.courses:
            try:
                found.append(_training(method, course, seed, minutes[course.name], runs))
            except MetaftError as error:
                refused[f"{method.key} ({course.name})"] = error.message
    for training in found:
        require_same(training.folder, "meta-train", training.settings)
    return found, refused


def choice_folder(runs: Path, method: Method, course: Course) -> Path:
    """Where ``--choose`` keeps what it tried."""
    return runs / "choice" / "-".join([course.name, *filter(None, [course.settings.get("scheme")])]) / method.key


def choice(runs: Path, method: Method, course: Course) -> dict[str, Any]:
    """The settings that validation classes chose; empty where nothing was tried, or not all of it yet."""
    folder = choice_folder(runs, method, course)
    if not (folder / RECORD).exists():
        return {}
    sweep = sweep_state(folder, read_grid_of(folder))
    done = set(sweep.states.values()) <= {"finished", "failed"}
    return dict(sweep.chosen[0].varied) if done and sweep.chosen else {}


def settings_of(method: Method, course: Course, minutes: float) -> dict[str, Any]:
    """What a training is told, but for its seed and for what validation chooses."""
    every = max(1, round(course.every * minutes))
    loop: dict[str, Any] = {"minutes": minutes, "validate_every": every, "log_every": every, "workers": 1}
    if minutes < method.eager_below.get(course.name, 0):
        loop["engine"] = "eager"
    return {"learner": method.trained_as, **course.settings, **loop, **method.settings.get(course.name, {})}


def _training(method: Method, course: Course, seed: int, minutes: float, runs: Path) -> Training:
    if method.trained_as not in META_TRAINED:
        raise MetaftError(f"unknown learner {method.trained_as!r}{nearest(method.trained_as, META_TRAINED)}")
    settings = {**settings_of(method, course, minutes), **choice(runs, method, course), "seed": seed}
    validated(RunConfig, settings)
    scheme = f"-{settings['scheme']}" if "scheme" in settings else ""
    folder = runs / f"{course.name}{scheme}-{minutes:g}min" / f"{method.key}-{seed}"
    return Training(method, course, seed, minutes, settings, folder)


def with_seeds(trainings: Iterable[Training]) -> dict[tuple[str, str], list[Training]]:
    """Finished trainings by method and course, the seeds together."""
    found: dict[tuple[str, str], list[Training]] = {}
    for training in trainings:
        if training.state() == "finished":
            found.setdefault((training.method.key, training.course.name), []).append(training)
    return found
