"""A sweep on the disk: what it runs, how far each member has come, what was chosen."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaft.environment import environment
from metaft.errors import MetaftError
from metaft.evaluation.report import markdown_table
from metaft.files import write_atomically
from metaft.runs.choice import Candidate, choose, heads, row
from metaft.runs.config import FamilySettings, to_toml
from metaft.runs.grid import VALIDATE, VALIDATION, Grid, Member, file_name, require_trusted, with_options
from metaft.runs.listing import summarise_run
from metaft.runs.pretrain_config import PretrainConfig
from metaft.runs.processes import last_line
from metaft.runs.reading import dig, number, printable, read_json
from metaft.runs.recorded import TRAINERS, checked, option_words
from metaft.runs.validation_only import Score

RECORD, PAGE, CHOSEN = "sweep.json", "sweep.md", "chosen.toml"
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
    """

    path: Path
    grid: Grid
    states: dict[str, str]
    reasons: dict[str, str]
    candidates: list[Candidate]

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
        if not isinstance(member.settings, dict) or not isinstance(member.varied, dict):
            raise MetaftError(f"{Path(folder) / RECORD} is damaged: a member's settings are no table")
        if not _SAFE.fullmatch(str(member.name)):
            raise MetaftError(f"{Path(folder) / RECORD} is damaged: {printable(member.name)!r} is no member's name")
        if command != VALIDATE:
            checked(command, member.settings)
        members.append(member)
    grid = Grid(command, tuple(members), str(record.get("grid", "")), learner)
    require_trusted(grid, Path(folder) / RECORD)
    return grid


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
    return Sweep(Path(folder), grid, states, reasons, choose(grid.members, states, scores))


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
    return Score(page["metric"], printable(page.get("mode")), mean, number(page.get("ci95")), values)


def write_record(folder: Path, grid: Grid) -> Sweep:
    """Write record, page and choice as the members' files have it.

    Args:
        folder: of the sweep.
        grid: what it runs.

    Returns:
        The sweep as written.

    Raises:
        MetaftError: if a file cannot be written.
    """
    found = state_of(folder, grid)
    record = {
        "name": folder.resolve().name,
        "command": grid.command,
        "learner": grid.learner,
        "grid": grid.text,
        "chosen_by": "mean score over seeds on validation classes",
        "chosen": [{"learner": found.learner(c), **c.varied} for c in found.chosen],
        "settings": [_plain(candidate) for candidate in found.candidates],
        "members": [
            {**dataclasses.asdict(m), "state": found.states[m.name], "reason": found.reasons.get(m.name)}
            for m in grid.members
        ],
        **environment(),
    }
    text = json.dumps(record, indent=1, ensure_ascii=False, default=str)
    write_atomically(folder / RECORD, text.encode() + b"\n")
    write_atomically(folder / PAGE, page(found).encode())
    for candidate in found.chosen:
        suffix = "" if len(found.chosen) == 1 else f"-{file_name(dict(candidate.tasks))}"
        write_atomically(folder / CHOSEN.replace(".toml", f"{suffix}.toml"), _chosen_toml(found, candidate).encode())
    return found


def _chosen_toml(found: Sweep, candidate: Candidate) -> str:
    name = found.path.resolve().name
    lines = [f"# Chosen by the sweep {name} of {len(found.candidates)} settings, by their validation score."]
    if found.grid.command == VALIDATE:
        return "\n".join([*lines, f"learner = {json.dumps(found.learner(candidate), ensure_ascii=False)}", ""])
    first = next(m for m in found.grid.members if m.setting == candidate.setting)
    return "\n".join([*lines, to_toml(checked(found.grid.command, first.settings))])


def page(found: Sweep) -> str:
    """A sweep as Markdown: what was chosen, all settings with their scores, what failed.

    Args:
        found: the sweep.

    Returns:
        The page.
    """
    rows = table_rows(found)
    lines = [f"# Sweep {found.path.resolve().name}", ""]
    for candidate in found.chosen:
        lines += [f"Chosen on validation classes: `{found.learner(candidate)}`", ""]
    lines += [markdown_table(heads(found.candidates), rows)]
    lines += [f"- {name} failed: {reason}" for name, reason in found.reasons.items()]
    return "\n".join([*lines, ""])


def next_command(found: Sweep, candidate: Candidate) -> str:
    """The command that tests a setting.

    Args:
        found: the sweep.
        candidate: the setting.

    Returns:
        A line for a shell.
    """
    members = [member for member in found.grid.members if member.setting == candidate.setting]
    told = VALIDATION if found.grid.command == VALIDATE else tuple(FamilySettings.model_fields)
    tasks = {name: value for name, value in members[0].settings.items() if name in told and name != "validate_tasks"}
    words = ["metaft", "compare", found.learner(candidate)]
    words += [word for name, value in tasks.items() for word in option_words(name, value)]
    return shlex.join(
        [*words, "--seeds", ",".join(str(member.seed) for member in members) + ("," * (len(members) == 1))]
    )


def table_rows(found: Sweep) -> list[list[str]]:
    """Rows for `heads`, a setting each."""
    paired = any(candidate.behind for candidate in found.candidates)
    return [row(candidate, paired) for candidate in found.candidates]


def _plain(candidate: Candidate) -> dict[str, Any]:
    entry: Mapping[str, Any] = dataclasses.asdict(candidate)
    return {name: _finite(value) for name, value in entry.items() if name != "per_task"}


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value
