"""A sweep written down: its record, its page and table, the setting it chose, the command that comes next."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

from metaft.commands.sweep.choice import Candidate, heads, note, row
from metaft.commands.sweep.grid import VALIDATE, VALIDATION, Grid, file_name
from metaft.commands.sweep.record import RECORD, Sweep, state_of
from metaft.environment import environment
from metaft.evaluation.report import markdown_table
from metaft.files import write_atomically
from metaft.plain_json import write_json
from metaft.runs.recorded import checked, option_words
from metaft.settings.config import to_toml
from metaft.settings.family import FamilySettings

PAGE, CHOSEN = "sweep.md", "chosen.toml"


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
        "settings": [{n: v for n, v in dataclasses.asdict(c).items() if n != "per_task"} for c in found.candidates],
        "members": [
            {**dataclasses.asdict(m), "state": found.states[m.name], "reason": found.reasons.get(m.name)}
            for m in grid.members
        ],
        **environment(),
    }
    write_json(folder / RECORD, record)
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
    lines += [markdown_table(heads(found.candidates), rows), note(found.candidates), ""]
    lines += [f"- {name} failed: {reason}" for name, reason in found.reasons.items()]
    lines += [f"- {name}: {text}" for name, text in found.warnings.items()]
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
    seeds = ",".join(str(member.seed) for member in members) + ("," if len(members) == 1 else "")
    return shlex.join([*words, "--seeds", seeds])


def table_rows(found: Sweep) -> list[list[str]]:
    """Rows for `heads`, a setting each."""
    paired = any(candidate.behind for candidate in found.candidates)
    return [row(candidate, paired) for candidate in found.candidates]
