"""What is known about one comparison: what was compared, the scores, and the prompts that were sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaft.commands.compare.files import CELLS, TABLES
from metaft.errors import MetaftError
from metaft.evaluation.report import LABELS, describe_family
from metaft.runs.listing import score_text
from metaft.runs.reading import dig, entries, number, read_json, read_rows

Section = dict[str, Any]
PROMPTS = "prompts, the first that each learner sent"


def holds_comparison(path: str | Path) -> bool:
    """Whether a folder holds the evaluations of a comparison, and no run."""
    folder = Path(path)
    return (folder / CELLS).is_file() and not (folder / "run.json").exists()


def show_comparison(path: str | Path) -> dict[str, Section]:
    """Read all a comparison says about itself; nothing is imported, built or executed.

    Args:
        path: its folder, which may be damaged or come from a stranger.

    Returns:
        Section → entry → JSON-able value.

    Raises:
        MetaftError: if its evaluations cannot be read.
    """
    folder = Path(path)
    cells = {_name(cell): cell for cell in read_rows(folder / CELLS) if "result" in cell}  # the last of each counts
    tables = _tables(folder)
    learners = {str(dig(cell, "label")): entries(cell, "result", "learner") for cell in cells.values()}
    first = next(iter(cells.values()), {})
    prompts: Section = {}
    for name, cell in cells.items():
        if isinstance(prompt := dig(cell, "result", "learner", "prompt"), str) and prompt:
            prompts[name] = prompt
    return {
        "comparison": {
            "path": str(folder),
            **({} if tables else {"state": "unfinished: go on with metaft compare --resume"}),
            **{name: tables[name] for name in ("baseline", "tasks", "task_seed", "date") if name in tables},
        },
        "repeat": {"recorded command": tables.get("command")},
        "environment": {
            **entries(tables, "versions"),
            "commit": tables.get("commit"),
            **entries(tables, "machine"),
        },
        "data": entries(first, "result", "family"),
        **{f"learner {label}": _without_prompt(told) for label, told in learners.items()},
        "scores": {name: _score(cell) for name, cell in cells.items()},
        PROMPTS: prompts,
    }


def _tables(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / TABLES)
    except MetaftError:
        return {}


def _name(cell: dict[str, Any]) -> str:
    """Learner, shots, and the seed if it has one."""
    seed = f", seed {cell['seed']}" if cell.get("seed") is not None else ""
    return f"{cell.get('label')}, {cell.get('shots')}-shot{seed}"


def _without_prompt(learner: Section) -> Section:
    return {name: value for name, value in learner.items() if name != "prompt"}


def _score(cell: dict[str, Any]) -> str:
    result = entries(cell, "result")
    metric, mean, half = result.get("metric"), number(result.get("mean")), number(result.get("ci95"))
    if metric not in LABELS or mean is None:
        return "damaged"
    where = describe_family(entries(result, "family"))
    return f"{score_text(mean, half, metric)} on {result.get('tasks')} {where}, {result.get('mode')}"
