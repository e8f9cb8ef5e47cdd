"""A sweep: the members of a grid in parallel processes, and the setting that validation classes choose."""

from __future__ import annotations

import os
from pathlib import Path

from metaft.commands.sweep.grid import VALIDATE, Grid, Member, read_grid
from metaft.commands.sweep.page import CHOSEN, PAGE, write_record
from metaft.commands.sweep.processes import Job, Watch, run_jobs
from metaft.commands.sweep.record import RECORD, Sweep, read_grid_of
from metaft.errors import MetaftError
from metaft.files import folder_path, write_atomically
from metaft.runs.contents import Contents
from metaft.runs.directory import locked
from metaft.runs.reading import read_json
from metaft.runs.recorded import option_words
from metaft.training.stopping import StoppedRun

GRID, NOBODY = "grid.toml", Watch()
SWEEP = Contents(
    "sweep",
    RECORD,
    (RECORD, GRID, PAGE, CHOSEN, "members", "logs"),
    is_ours=lambda folder: bool(read_json(folder / RECORD)),
    is_free=lambda names: set(names) <= {".lock"},
    replaced=False,
)


def sweep(
    grid: str | Path | None, out: str | Path, jobs: int = 1, *, resume: bool = False, watch: Watch = NOBODY
) -> Sweep:
    """Run a grid and choose the best setting by its score on validation classes.

    A member that fails does not stop the others. What has finished is never done again; what was cut short goes on
    from its last checkpoint.

    Args:
        grid: the TOML file (see ``read_grid``); None to go on with the one in ``out``.
        out: folder of the sweep.
        jobs: processes side by side.
        resume: go on with the sweep in ``out``; members may be added to the grid, none may be changed.
        watch: is told what goes on.

    Returns:
        The sweep, also when members failed; written to ``sweep.json``, ``sweep.md`` and ``chosen.toml``.

    Raises:
        MetaftError: for a grid that is not sound, or a folder that is taken.
        StoppedRun: after SIGINT or SIGTERM, once the members have written their checkpoints.
    """
    folder = folder_path(out)
    if not 1 <= jobs <= 1024:
        raise MetaftError(f"jobs = {jobs}: should be from 1 to 1024")
    taken = SWEEP.check(folder, resume=resume)
    if grid is None and not resume:
        raise MetaftError("a sweep needs a grid: metaft sweep GRID.toml --out DIR")
    before = read_grid_of(folder) if taken else None
    plan = read_grid(grid) if grid is not None else before
    assert plan is not None
    if before is not None:
        _require_same(before, plan)
    with locked(folder, "sweep"):
        write_atomically(folder / GRID, plan.text.encode())
        start = write_record(folder, plan)
        todo = [member for member in plan.members if start.states[member.name] != "finished"]
        watch.begin(len(plan.members) - len(todo), len(plan.members))
        signum = run_jobs([_job(folder, plan, member) for member in todo], jobs, watch)
        found = write_record(folder, plan)
    if signum and any(state not in ("finished", "failed") for state in found.states.values()):
        done = sum(state == "finished" for state in found.states.values())
        raise StoppedRun(
            f"stopped with {done} of {len(found.states)} members finished, the others saved; "
            f"go on with: metaft sweep --resume --out {folder}",
            signum,
        )
    return found


def _job(folder: Path, grid: Grid, member: Member) -> Job:
    path, log = folder / "members" / member.name, folder / "logs" / f"{member.name}.log"
    words = ["-m", "metaft.commands.sweep.member", str(os.getpid())]
    if grid.command == VALIDATE:
        return Job(member.name, (*words, VALIDATE, str(folder), member.name), log)
    if (path / "run.json").exists():
        words += [grid.command, "--resume", "--out", str(path)]
    else:
        options = [word for name, value in member.settings.items() for word in option_words(name, value)]
        words += [grid.command, *options, "--out", str(path)]
    return Job(member.name, tuple(words), log, path)


def _require_same(before: Grid, now: Grid) -> None:
    if before.command != now.command:
        raise MetaftError(f"the sweep was begun with command = {before.command!r}, not {now.command!r}")
    known = {member.name: member for member in before.members}
    for member in now.members:
        old = known.get(member.name)
        if old is not None and (old.settings, old.learner) != (member.settings, member.learner):
            was, now_is = ({**m.settings, "learner of the grid": m.learner} for m in (old, member))
            name = next(n for n in sorted({*was, *now_is}) if was.get(n) != now_is.get(n))
            raise MetaftError(
                f"the sweep was begun with {name} = {was.get(name)}, not {now_is.get(name)} (member {member.name}); a "
                "resumed sweep may gain members, not change them: change it back, or give another --out"
            )
