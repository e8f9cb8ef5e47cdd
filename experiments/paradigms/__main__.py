"""Which way to use a support set? All learners on identical Omniglot tasks: makes results/paradigms*.{md,json,png}.

Command: python -m experiments.paradigms   (trains what is not trained, chooses rates on validation classes, compares)
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from experiments.jobs import compare_words, keep, metaft, swept
from experiments.pages import folder_option, results_option
from experiments.plans import state_of
from experiments.training import HERE
from metaft.commands.sweep.record import chosen_learner
from metaft.learners.spec import parse
from metaft.runs.recorded import option_words

PLAN = tomllib.loads((HERE / "paradigms" / "plan.toml").read_text(encoding="utf-8"))
FIRST = "fine-tune everything"


@click.command()
@folder_option("runs", "runs/paradigms", "work folder")
@results_option
@click.option("--seeds", default=3, show_default=True, help="seeds of every learner that has any")
@click.option("--tasks", default=80, show_default=True, help="5-way test tasks at each number of shots")
@click.option("--tasks-20", default=40, show_default=True, help="20-way test tasks at each number of shots")
@click.option("--validate-tasks", default=60, show_default=True, help="validation tasks by which a rate is chosen")
@click.option("--jobs", default=2, show_default=True, help="processes side by side while rates are chosen")
def main(runs: Path, results: Path, seeds: int, tasks: int, tasks_20: int, validate_tasks: int, jobs: int) -> None:
    """Train, choose, compare; what is finished already is taken as it is."""
    for name, settings in PLAN["trainings"].items():
        for seed in range(seeds):
            train(settings, runs / f"{name}-{seed}", seed)
    tuned = PLAN["fine_tuned"]["learners"]
    some = PLAN["fine_tuned"]["at_20_ways"]
    at_5 = {label: chosen(label, spec, runs, 5, validate_tasks, jobs) for label, spec in tuned.items()}
    at_20 = {label: chosen(label, tuned[label], runs, 20, validate_tasks, jobs) for label in some}
    on = lambda specs, backbone: {label: f"{spec},backbone={backbone}" for label, spec in specs.items()}
    pretrained = f"{runs}/pretrained-{{seed}}"
    frozen, tuned_5, tuned_20 = (on(specs, pretrained) for specs in (PLAN["features"], at_5, at_20))
    random = on({"everything from random weights": at_5[FIRST]}, "random")
    maml, first, maml_20 = (
        {
            f"{label} ({mode})": f"{runs}/{run}-{{seed}}:batch_norm={mode},steps=1"
            for mode in ("transductive", "inductive")
        }
        for label, run in (("MAML", "maml-5"), ("first-order MAML", "fomaml-5"), ("MAML", "maml-20"))
    )
    slow = {"linearised": tuned_5.pop("linearised")}  # one thread, and a second derivative a step: at 1 shot alone
    near = {name: tuned_5[name] for name in some[:2]}
    compared = {
        "5way": (PLAN["pixels"] | frozen | tuned_5 | random | maml | first, "5-way", 5, (1, 5, 10), tasks),
        "linearised": (near | slow, "linearised", 5, (1,), tasks_20),
        "20way": (PLAN["pixels"] | frozen | tuned_20 | maml_20, "20-way", 20, (1, 5), tasks_20),
        "steps": ({name: tuned_5[name] for name in some} | maml, "steps", 5, (1,), tasks_20),
    }
    for name, (learners, folder, ways, shots, count) in compared.items():
        options = (
            "--dataset",
            "omniglot",
            "--no-rotations",
            "--ways",
            str(ways),
            "--queries",
            "10",
            "--workers",
            "auto",
        )
        curves = "--curves" if name == "steps" else "--no-curves"
        metaft(*compare_words(learners, runs / folder, *options, curves, seeds=str(seeds), shots=shots, tasks=count))
        if name != "steps":
            keep(runs / folder, results, f"paradigms-{name}")
    shutil.copy(runs / "steps" / "against_steps.png", results / "paradigms-steps.png")
    click.echo(f"written: {results}/paradigms-*; the reading of them is results/paradigms.md")


def train(settings: Mapping[str, Any], out: Path, seed: int) -> None:
    """Train one seed unless it is finished."""
    if state_of(out) == "finished":
        return
    config = settings.get("config")
    words = (
        ["meta-train", "--config", str(HERE / f"{config}.toml")] if config else ["pretrain", "--dataset", "omniglot"]
    )
    given = [word for name, value in settings.items() if name != "config" for word in option_words(name, value)]
    metaft(*words, *given, "--seed", str(seed), "--out", str(out), "--overwrite")


def chosen(label: str, spec: str, runs: Path, ways: int, tasks: int, jobs: int) -> str:
    """A learner with its rate chosen on validation classes by ``metaft sweep``, at 1 shot, from seed 0."""
    folder = runs / f"rates-{ways}" / label.replace(" ", "-")
    base = {"dataset": "omniglot", "rotations": False, "shots": 1, "queries": 15, "ways": ways, "validate_tasks": tasks}
    learner = f"{spec},backbone={runs}/pretrained-{{seed}}"
    grid = {"rate": PLAN["fine_tuned"]["rates"]}
    if not (folder / "chosen.toml").exists():
        swept({"command": "validate", "learner": learner, "seeds": [0], "base": base, "grid": grid}, folder, jobs)
    return f"{spec},rate={parse(chosen_learner(str(folder))).options['rate']}"


if __name__ == "__main__":
    main()
