"""A sweep on the disk: what it runs, how far each member has come, what was chosen."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path

from metaft.commands.sweep.choice import Candidate, choose
from metaft.commands.sweep.grid import VALIDATE, Grid, Member, require_trusted, with_options
from metaft.commands.sweep.processes import last_line
from metaft.commands.sweep.validation_only import Score
from metaft.errors import MetaftError
from metaft.runs.listing import summarise_run
from metaft.runs.reading import dig, number, printable, read_json
from metaft.runs.recorded import TRAINERS, checked
from metaft.settings.pretrain import PretrainConfig

RECORD = "sweep.json"
_SAFE = re.compile(r"[A-Za-z0-9_][\w.=+-]*", flags=re.ASCII)


@dataclass(frozen=True)
class Sweep:
    """A sweep as it stands on the disk.

    Args:
        path: its folder.
        grid: what it runs.
        states: member → "waiting", "running", "stopped", "interrupted", "finished" or "failed".
        reasons: member → why it failed.
        candidates: the settings, seeds put together; the chosen one is marked.
        warnings: member → what its run warns of, such as a time budget that ended it after a few iterations.
    """

    path: Path
    grid: Grid
    states: dict[str, str]
    reasons: dict[str, str]
    candidates: list[Candidate]
    warnings: dict[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> list[Candidate]:
        """The best setting of every kind of task."""
        return [candidate for candidate in self.candidates if candidate.chosen]

    @property
    def finished(self) -> bool:
        """Whether every member has finished."""
        return set(self.states.values()) == {"finished"}

    def learner(self, candidate: Candidate) -> str:
        """What ``metaft compare`` calls a setting, ``{seed}`` standing for each seed."""
        if self.grid.command == VALIDATE:
            return with_options(str(self.grid.learner), candidate.varied)
        first = next(m for m in self.grid.members if m.setting == candidate.setting)
        run = str(self.path / "members" / re.sub(r"seed=\d+$", "seed={seed}", first.name))
        # What pretraining is validated by.
        return f"class-means:backbone={run}" if self.grid.command == PretrainConfig.command else run


def read_grid_of(folder: str | Path) -> Grid:
    """The grid of a sweep on the disk, checked anew: its file may be damaged, or a stranger's.

    Args:
        folder: of the sweep.

    Returns:
        The grid.

    Raises:
        MetaftError: if there is no sweep, or what it would run is not sound.
    """
    record = read_json(Path(folder) / RECORD)
    command, learner, entries = record.get("command"), record.get("learner"), record.get("members")
    if command not in (*TRAINERS, VALIDATE) or not isinstance(entries, list) or not entries:
        raise MetaftError(f"{Path(folder) / RECORD} is damaged: it does not say what it runs")
    members = []
    for entry in entries:
        try:
            member = Member(**{f.name: entry[f.name] for f in dataclasses.fields(Member)})
        except (KeyError, TypeError):
            raise MetaftError(f"{Path(folder) / RECORD} is damaged: a member is incomplete") from None
        if not _sound(member, command):
            raise MetaftError(f"{Path(folder) / RECORD} is damaged: a member's entries are of another kind")
        if not _SAFE.fullmatch(str(member.name)):
            raise MetaftError(f"{Path(folder) / RECORD} is damaged: {printable(member.name)!r} is no member's name")
        if command != VALIDATE:
            checked(command, member.settings)
        members.append(member)
    grid = Grid(command, tuple(members), str(record.get("grid", "")), learner)
    require_trusted(grid, Path(folder) / RECORD)
    return grid


def _sound(member: Member, command: str) -> bool:
    """Whether a member's entries are of the kinds that a sweep writes; a stranger's record may hold anything."""
    tables = isinstance(member.settings, dict) and isinstance(member.varied, dict)
    whole = type(member.setting) is int and type(member.seed) is int
    flat = tables and not any(isinstance(value, dict | list) for value in member.varied.values())
    return flat and whole and (isinstance(member.learner, str) if command == VALIDATE else member.learner is None)


def state_of(folder: str | Path, grid: Grid) -> Sweep:
    """Read how far a sweep has come from its members' own files.

    Args:
        folder: of the sweep.
        grid: what it runs.

    Returns:
        The sweep.
    """
    states, reasons, scores = dict[str, str](), dict[str, str](), dict[str, Score]()
    for member in grid.members:
        state, reason, score = _member(Path(folder), grid, member)
        states[member.name] = state
        if reason is not None:
            reasons[member.name] = reason
        if score is not None:
            scores[member.name] = score
    warnings = {m.name: text for m in grid.members if (text := _warning(Path(folder) / "members" / m.name))}
    return Sweep(Path(folder), grid, states, reasons, choose(grid.members, states, scores), warnings)


def chosen_learner(folder: str | Path) -> str:
    """What a finished sweep chose, as ``metaft compare`` calls it.

    Args:
        folder: of the sweep.

    Returns:
        A learner's specification, ``{seed}`` standing for each seed.

    Raises:
        MetaftError: if there is no sweep, it is not done, or it chose for several kinds of task.
    """
    found = state_of(folder, read_grid_of(folder))
    if not set(found.states.values()) <= {"finished", "failed"}:
        raise MetaftError(f"the sweep {folder} is not done; go on with it: metaft sweep --resume --out {folder}")
    specs = [found.learner(candidate) for candidate in found.chosen]
    if len(specs) != 1:
        listed = (
            f", one for each kind of task; name one of: {'  '.join(specs)}" if specs else ": no setting has finished"
        )
        raise MetaftError(f"the sweep {folder} chose {len(specs)} learners{listed}")
    return specs[0]


def _warning(run: Path) -> str:
    try:
        return printable(read_json(run / "run.json").get("warning") or "")
    except MetaftError:
        return ""


def _member(folder: Path, grid: Grid, member: Member) -> tuple[str, str | None, Score | None]:
    """State, reason of failure and score of one member."""
    log = folder / "logs" / f"{member.name}.log"
    if grid.command == VALIDATE:
        file = folder / "members" / f"{member.name}.json"
        if file.exists():
            return "finished", None, _stored_score(file)
        failed = last_line(log)
        return ("failed", printable(failed), None) if failed.startswith("Error") else ("waiting", None, None)
    path = folder / "members" / member.name
    if not (path / "run.json").exists():
        failed = last_line(log)
        return ("failed", printable(failed), None) if failed else ("waiting", None, None)
    run = summarise_run(path)
    if run.state != "finished":
        return run.state, run.reason, None
    if run.metric is None or run.best is None:
        return "failed", "it finished without a validation score", None
    batch_norm = dig(read_json(path / "run.json"), "settings", "learner", "batch_norm")
    mode = "transductive" if batch_norm == "transductive" else "inductive"
    return "finished", None, Score(run.metric, mode, run.best, run.ci95)


def _stored_score(file: Path) -> Score:
    page = read_json(file)
    mean, per_task = number(page.get("mean")), page.get("per_task")
    if mean is None or page.get("metric") not in ("accuracy", "mse") or not isinstance(per_task, list):
        raise MetaftError(f"{file} is damaged: it holds no score; remove it and --resume")
    values = tuple(number(value) or 0.0 for value in per_task)
    return Score(
        page["metric"],
        printable(page.get("mode")),
        mean,
        number(page.get("ci95")),
        values,
        page.get("deterministic") is True,
    )
