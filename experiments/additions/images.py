"""Images: a pretrained Conv4, and LoRA against the scopes at identical steps."""

from __future__ import annotations

from pathlib import Path

from experiments.additions.plan import PLAN, option_pairs
from experiments.jobs import compare_words, metaft, swept
from experiments.plans import state_of
from metaft.commands.sweep.record import chosen_learner
from metaft.learners.spec import parse

BASELINE = "class means"


def compare(runs: Path, seeds: int, at_once: int) -> Path:
    """Pretrain a Conv4 a seed, choose each learner's rate on validation classes, and compare on the same test tasks.

    Args:
        runs: the work folder.
        seeds: of the pretrained network and of what is put in.
        at_once: programs side by side while rates are chosen.

    Returns:
        The folder of the comparison.
    """
    plan = PLAN["images"]
    for seed in range(seeds):
        run = runs / f"conv4-{seed}"
        if state_of(run) != "finished":
            again = ["--resume"] if (run / "run.json").exists() else []
            metaft(
                "pretrain", *option_pairs(plan["pretrained"]), "--seed", str(seed), "--quiet", "--out", str(run), *again
            )
    specs = {BASELINE: f"class-means:backbone={runs}/conv4-{{seed}},normalise=l2"}
    specs |= {label: chosen(label, told, runs, at_once) for label, told in plan["learners"].items()}
    part = PLAN["parts"]["images"]
    options = (
        "--dataset",
        "omniglot",
        "--no-rotations",
        "--ways",
        "5",
        "--queries",
        "10",
        "--no-curves",
        "--paired-seeds",
    )
    folder = runs / "images"
    metaft(*compare_words(specs, folder, *options, seeds=str(seeds), shots=part["shots"], tasks=part["tasks"]))
    return folder


def chosen(label: str, told: str, runs: Path, at_once: int) -> str:
    """A learner whose rate was chosen on validation classes by ``metaft sweep``, at one shot, on the first network.

    Args:
        label: the learner's.
        told: what adapts in it, as an option of fine-tuning.
        runs: the work folder.
        at_once: programs side by side.

    Returns:
        The learner as ``metaft compare`` reads it.
    """
    folder, plan = runs / "rates" / label.replace(" ", "-").replace(",", ""), PLAN["images"]
    spec = f"fine-tuning:backbone={runs}/conv4-{{seed}},{told},steps={plan['steps']}"
    base = {"dataset": "omniglot", "rotations": False, "shots": 1, "queries": 10, "ways": 5, "validate_tasks": 40}
    if not (folder / "chosen.toml").exists():
        grid = {"command": "validate", "learner": spec, "seeds": [0], "base": base, "grid": {"rate": plan["rates"]}}
        swept(grid, folder, at_once)
    return f"{spec},rate={parse(chosen_learner(str(folder))).options['rate']}"
