"""One member of a sweep, a process that ends when the sweep does: ``python -m metaft.commands.sweep.member``."""

from __future__ import annotations

import dataclasses
import runpy
import sys
from pathlib import Path

from metaft.assembly.learners import make_learner
from metaft.assembly.tasks import build_family
from metaft.assembly.words import in_own_words, networks_of
from metaft.commands.sweep.grid import VALIDATE, Member
from metaft.commands.sweep.processes import end_with
from metaft.commands.sweep.record import read_grid_of
from metaft.commands.sweep.validation_only import validation_score
from metaft.errors import MetaftError
from metaft.learners.spec import parse
from metaft.plain_json import write_json
from metaft.settings.config import RunConfig, validated


def score_member(folder: str | Path, member: Member) -> None:
    """Score a learner on validation tasks, and keep the score with the sweep.

    Args:
        folder: of the sweep.
        member: whose learner and tasks.

    Raises:
        MetaftError: if the learner or its tasks cannot be made, or the score cannot be written.
    """
    spec = parse(str(member.learner))
    config = validated(RunConfig, in_own_words({"workers": 1, **member.settings}, [spec]))
    family = build_family(config, "val", config.seed, networks=networks_of([spec.at(member.seed)], config))
    learner = make_learner(spec, member.seed, family, config, None)[0]
    say = lambda done, total: print(f"{100 * done // total}% of {total} tasks", flush=True)
    score = validation_score(learner, family, config.validate_tasks, say)
    told = {"learner": {"spec": member.learner, **learner.describe()}, "family": family.describe()}
    write_json(Path(folder) / "members" / f"{member.name}.json", dataclasses.asdict(score) | told)


def main(parent: str, *words: str) -> None:
    """Run one member.

    Args:
        parent: the process id of the sweep.
        words: a command that trains with its options; or "validate", the sweep's folder and the member's name.
    """
    end_with(int(parent))
    if words[0] != VALIDATE:
        sys.argv = ["metaft", *words]
        runpy.run_module("metaft", run_name="__main__")
        return
    try:
        grid = read_grid_of(words[1])
        score_member(words[1], next(member for member in grid.members if member.name == words[2]))
    except MetaftError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
