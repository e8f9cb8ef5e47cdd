"""A sweep on the disk: what it runs, how far each member has come, what was chosen."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from metaft.commands.sweep.choice import Candidate, choose
from metaft.commands.sweep.grid import VALIDATE, Grid, Member, require_trusted, with_options
from metaft.commands.sweep.processes import last_line
from metaft.commands.sweep.validation_only import Score
from metaft.errors import MetaftError
from metaft.runs.listing import summarise_run
from metaft.runs.reading import dig, known, printable, read_json
from metaft.runs.recorded import TRAINERS, checked
from metaft.settings.pretrain import PretrainConfig

RECORD = "sweep.json"
_MEMBER, _SCORE = TypeAdapter(Member), TypeAdapter(Score)


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
    file = Path(folder) / RECORD
    record = read_json(file)
    command, learner, stored = record.get("command"), record.get("learner"), record.get("members")
    if command not in (*TRAINERS, VALIDATE) or not isinstance(stored, list) or not stored:
        raise MetaftError(f"{file} is damaged: it does not say what it runs")
    try:
        members = tuple(map(_MEMBER.validate_python, stored))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise MetaftError(f"{file} is damaged: a member's {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    for member in members:
        if (member.learner is None) == (command == VALIDATE):
            raise MetaftError(f"{file} is damaged: member {member.name} does not suit the command {command}")
        if command != VALIDATE:
            checked(command, member.settings)
    grid = Grid(command, members, str(record.get("grid", "")), learner)
    require_trusted(grid, file)
    return grid


def state_of(folder: str | Path, grid: Grid) -> Sweep:
    """Read how far a sweep has come from its members' own files.

    Args:
        folder: of the sweep.
        grid: what it runs.

    Returns:
        The sweep.
    """
    path = Path(folder)
    found = {member.name: _member(path, grid, member) for member in grid.members}
    states = {name: state for name, (state, _, _) in found.items()}
    reasons = {name: reason for name, (_, reason, _) in found.items() if reason is not None}
    scores = {name: score for name, (_, _, score) in found.items() if score is not None}
    said = {name: printable(known(path / "members" / name / "run.json").get("warning") or "") for name in found}
    warnings = {name: text for name, text in said.items() if text}
    return Sweep(path, grid, states, reasons, choose(grid.members, states, scores), warnings)


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
    if len(specs) == 1:
        return specs[0]
    why = f", one for each kind of task; name one of: {'  '.join(specs)}" if specs else ": no setting has finished"
    raise MetaftError(f"the sweep {folder} chose {len(specs)} learners{why}")


def _member(folder: Path, grid: Grid, member: Member) -> tuple[str, str | None, Score | None]:
    """State, reason of failure and score of one member."""
    path, last = folder / "members" / member.name, last_line(folder / "logs" / f"{member.name}.log")
    if grid.command == VALIDATE:
        file = path.with_name(f"{member.name}.json")
        if file.exists():
            return "finished", None, _stored_score(file)
        last = last if last.startswith("Error") else ""
    elif (path / "run.json").exists():
        run = summarise_run(path)
        if run.state != "finished":
            return run.state, run.reason, None
        if run.metric is None or run.best is None:
            return "failed", "it finished without a validation score", None
        batch_norm = dig(read_json(path / "run.json"), "settings", "learner", "batch_norm")
        mode = "transductive" if batch_norm == "transductive" else "inductive"
        return "finished", None, Score(run.metric, mode, run.best, run.ci95)  # type: ignore[arg-type]
    return ("failed", printable(last), None) if last else ("waiting", None, None)


def _stored_score(file: Path) -> Score:
    try:
        return _SCORE.validate_python(read_json(file))
    except ValidationError:
        raise MetaftError(f"{file} is damaged: it holds no score; remove it and --resume") from None
