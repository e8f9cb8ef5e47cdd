"""Tuning by preferences: makes results/preferences.{md,json,png}.

Command: python -m experiments.preferences   (what is finished already is taken as it is)
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click

from experiments.jobs import metaft
from experiments.pages import folder_option, render, results_option
from experiments.preferences import rows
from experiments.preferences.curves import curves, draw
from experiments.preferences.judging import judging
from experiments.preferences.tastes import tastes
from experiments.training import HERE
from metaft.environment import environment
from metaft.files import write_atomically

PLAN = tomllib.loads((HERE / "preferences" / "plan.toml").read_text(encoding="utf-8"))
TUNED = ("reward", "dpo", "sft")


@click.command()
@folder_option("runs", "runs/preferences", "work folder")
@results_option
@click.option("--seeds", default=3, show_default=True, help="of what is drawn, and of orders")
@click.option("--only", default="", help="curves, sft, reward, dpo, judge, tastes, joined by commas; all if empty")
def main(runs: Path, results: Path, seeds: int, only: str) -> None:
    """Tune, score on what was not seen, and write the page of what is finished."""
    file = results / "preferences.json"
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in ("curves", *TUNED, "judge", "tastes"):
        if only and name not in only.split(","):
            continue
        if name == "curves":
            kept[name] = json.loads(json.dumps(curves(PLAN[name], runs / name, seeds)))
            draw(kept[name], results / "preferences.png")
        elif name == "judge":
            kept[name] = judging(PLAN[name], runs / name, seeds)
        elif name == "tastes":
            kept[name] = json.loads(json.dumps(tastes(PLAN[name], runs / name, seeds)))
        else:
            kept[name] = [tuned(name, runs / f"{name}-{seed}", seed) for seed in range(seeds)]
        kept["judge environment" if name == "judge" else "environment"] = environment()  # it may be measured by itself
        write_atomically(file, json.dumps(kept, indent=1).encode())
        page = render("experiments/preferences/page.md.j2", plan=PLAN, found=kept, rows=rows)
        write_atomically(results / "preferences.md", page.encode())
    click.echo(f"written: {results}/preferences.*")


def tuned(name: str, out: Path, seed: int) -> dict[str, Any]:
    """Tune by the plan, and score beside the start on the test part.

    Args:
        name: the part of the plan.
        out: the run directory.
        seed: of the order of examples.

    Returns:
        What ``metaft evaluate`` wrote, and the seconds of training.
    """
    record, scores = out / "run.json", out / "evaluation-test.json"
    state = json.loads(record.read_text(encoding="utf-8")).get("state") if record.exists() else None
    if state is None:
        metaft("tune", *PLAN[name]["words"], "--seed", str(seed), "--out", str(out), "--quiet")
    elif state != "finished":
        metaft("tune", "--resume", "--out", str(out), "--quiet")
    if not scores.exists():
        metaft("evaluate", str(out), "--tasks", "100")
    found: dict[str, Any] = json.loads(scores.read_text(encoding="utf-8"))
    return found | {"seconds": json.loads(record.read_text(encoding="utf-8"))["seconds"]}


if __name__ == "__main__":
    main()
