"""Everything that is known about one run, and needed to repeat it."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from metaft.errors import MetaftError
from metaft.evaluation.report import LABELS, describe_family, describe_method
from metaft.runs import checkpoint
from metaft.runs.listing import score_text, summarise_run
from metaft.runs.reading import dig, entries, number, printable, read_json, read_run
from metaft.runs.recorded import command_line, command_words, recorded_config
from metaft.settings.distill import GenerationConfig

Section = dict[str, Any]


def show_run(path: str | Path) -> dict[str, Section]:
    """Read all a run says about itself; nothing is imported, built or executed.

    Args:
        path: the run directory, which may be damaged or come from a stranger.

    Returns:
        Section → entry → JSON-able value: the run, how to repeat it, its settings, environment, data, scope,
        checkpoints and scores. What is damaged says so in place of its value.

    Raises:
        MetaftError: if there is no run, or ``run.json`` cannot be read.
    """
    folder = Path(path)
    record, run = read_run(folder), summarise_run(folder)
    told = {name: record[name] for name in ("started", "resumed", "ended", "repeats", "warning") if record.get(name)}
    environment, learner = entries(record, "environment"), entries(record, "settings", "learner")
    method = describe_method(learner)
    return {
        "run": {
            **{name: value for name, value in dataclasses.asdict(run).items() if value is not None},
            "progress": run.progress,
            "best_iteration": record.get("best_iteration"),
            **told,
        },
        "repeat": {"recorded command": record.get("command"), **_repeat(folder, run.state)},
        "settings": _settings(folder, record),
        "environment": {
            **entries(environment, "versions"),
            "commit": environment.get("commit"),
            **entries(environment, "machine"),
        },
        "data": {**entries(record, "settings", "family"), "sha256 of the first task": record.get("first_task_sha256")},
        "learner": {**learner, **({"method": method} if method else {})},
        "scope": _scope(record.get("scope")),
        "checkpoints": _checkpoints(folder),
        "scores": _scores(folder),
    }


def _repeat(folder: Path, state: str) -> Section:
    try:
        config = recorded_config(folder)
        if isinstance(config, GenerationConfig):
            parent = folder.parent
            return {"command line": f"none of its own: a generation of {parent}, see metaft show {parent}"}
        told = {"command line": command_line(command_words(config), f"{folder}-repeat")}
        if state == "finished":
            told["and compare"] = shlex.join(["metaft", "repeat", str(folder)])
        elif state != "running":
            told["go on"] = shlex.join(["metaft", config.command, "--resume", "--out", str(folder)])
        return told
    except MetaftError as error:
        return {"command line": f"none: {error.message}"}


def _settings(folder: Path, record: dict[str, Any]) -> Section:
    """From config.toml, which has all of them; from the record for a run made from Python."""
    try:
        return recorded_config(folder).model_dump()
    except MetaftError:
        return entries(record, "settings", "train")


def _scope(rows: Any) -> Section:
    """Parameter → shape and what moves it."""
    if not isinstance(rows, list):
        return {}
    return {str(row[0]): ", ".join(str(cell) for cell in row[1:]) for row in rows if isinstance(row, list) and row}


def _checkpoints(folder: Path) -> Section:
    found: Section = {}
    for path in checkpoint.folders(folder / "checkpoints"):
        try:
            base = checkpoint.read(path).base
            found[path.name] = "whole" if base is None else f"whole; its frozen base is read from {base.name}"
        except (checkpoint.DamagedCheckpointError, MetaftError) as error:
            found[path.name] = f"damaged: {error}"
    return found


def _scores(folder: Path) -> Section:
    found: Section = {}
    for file in sorted((folder / "evaluations").glob("*.json")):
        try:
            page = read_json(file)
        except MetaftError as error:
            found[file.stem] = error.message
            continue
        for name, result in entries(page, "results").items():
            metric, mean, half = dig(result, "metric"), number(dig(result, "mean")), number(dig(result, "ci95"))
            if metric in LABELS and mean is not None:
                text, where = score_text(mean, half, metric), describe_family(entries(result, "family"))
                found[f"{file.stem} {name}"] = f"{text} on {dig(result, 'tasks')} {where}, {dig(result, 'mode')}"
    return found


def plain(section: Section) -> list[tuple[str, str]]:
    """A section's entries as text for a terminal.

    Args:
        section: of `show_run`.

    Returns:
        Entry and value, without control characters; None is shown as a dash.
    """
    return [(printable(name), "–" if value is None else printable(value)) for name, value in section.items()]
