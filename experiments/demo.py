"""The main job in small: meta-train on invented characters, evaluate on new ones, show where everything lies.

Command: make demo
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from experiments.pages import folder_option
from experiments.training import train
from metaft.assembly.meta_learner import build_family, load_run
from metaft.environment import program
from metaft.evaluation.evaluate import evaluate
from metaft.evaluation.plots import accuracy_per_step, save, training_curves
from metaft.evaluation.report import comparison_table, write_result
from metaft.learners import NearestNeighbour
from metaft.runs.metrics import read_rows


@click.command()
@click.option("--minutes", type=float, help="time to train  [default: 2]")
@folder_option("out", "runs/demo", "run directory")
def main(minutes: float | None, out: Path) -> None:
    """Meta-train MAML on glyphs for two minutes and score it beside raw-pixel nearest neighbour on the same tasks."""
    start = time.perf_counter()
    say = partial(Console(soft_wrap=True).print, highlight=False)
    say("metaft demo: 5-way 1-shot on invented characters (glyphs); drawing them …")
    config, run = train("demo", out, "make demo", minutes=minutes)
    family = build_family(config, "test", config.seed)
    _, learner = load_run(out, "best", family)
    results = {
        "MAML": evaluate(learner, family, config.test_tasks, steps=config.test_steps),
        "nearest neighbour, raw pixels": evaluate(NearestNeighbour(), family, config.test_tasks),
    }
    write_result(out / "evaluations" / "demo.json", results, "make demo", [config.seed])
    save(accuracy_per_step(results), out / "evaluations" / "accuracy.png")
    save(training_curves(read_rows(out / "metrics.jsonl")), out / "evaluations" / "training.png")
    say(comparison_table(results, "5-way 1-shot on glyph alphabets never trained on, the same tasks for both"))
    say(f"trained   {run.iterations:,} iterations of {config.tasks} tasks in {run.seconds:.0f} s "
        f"(whole demo: {time.perf_counter() - start:.0f} s)")  # fmt: skip
    say(f"run       {out}   (settings, metrics, checkpoints, episode.png)")
    say(f"plots     {out / 'evaluations'}/accuracy.png, training.png")
    say(f"curves    {out / 'tensorboard'}")
    say(f"next      {program()} evaluate {out} --shots 5    or    {program()} tensorboard {out}")


if __name__ == "__main__":
    main()
