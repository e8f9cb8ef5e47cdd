"""Which way to use a support set? All learners on identical Omniglot tasks: makes results/paradigms*.{md,json,png}.

Command: python -m experiments.paradigms   (trains what is not trained yet, chooses rates on validation classes, compares)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click

from experiments.common import HERE
from metaft.files import write_atomically
from metaft.runs.directory import read_record

STEPS = 20
RATES = [0.001, 0.003, 0.01, 0.03, 0.1]
# label → options of the fine-tuning learners, their rate left open
FINE_TUNED = {
    "fine-tune everything": f"fine-tuning:steps={STEPS}",
    "head first then everything": f"head-first:steps={STEPS},head_steps={STEPS // 2}",
    "fine-tune the last 2 blocks": f"fine-tuning:steps={STEPS},scope=last:2",
    "fine-tune the first 2 blocks": f"fine-tuning:steps={STEPS},scope=first:2",
    "fine-tune biases": f"fine-tuning:steps={STEPS},scope=biases",
    "fine-tune a block a step": f"rotating:steps={STEPS}",
    "linearised": f"linearised:steps={STEPS},head_steps={STEPS // 2}",
    "everything with L2 to the start": f"fine-tuning:steps={STEPS},objective=l2,weight=0.1",
    "everything with KL to the start": f"fine-tuning:steps={STEPS},objective=kl",
}
FROM_RANDOM = "everything from random weights"
SOME = ("fine-tune everything", "head first then everything", "fine-tune the last 2 blocks", "fine-tune biases")
FEATURES = {
    "nearest neighbour on features": "nearest-neighbour:metric=cosine,features=penultimate",
    "class means": "class-means:normalise=l2",
    "class means centred (SimpleShot)": "class-means:centre=base,normalise=l2",
    "features + logistic": "feature-extraction:head=logistic",
    "features + ridge": "feature-extraction:head=ridge",
    "features + linear SVM": "feature-extraction:head=svm",
    "features + random forest": "feature-extraction:head=forest,head_seed={seed}",
    "last 2 blocks' features + logistic": "feature-extraction:head=logistic,features=features.2+features.3",
}
PIXELS = {
    "nearest neighbour on pixels": "nearest-neighbour",
    "nearest neighbour on pixels (cosine)": "nearest-neighbour:metric=cosine",
}


@click.command()
@click.option(
    "--runs", default="runs/paradigms", show_default=True, type=click.Path(path_type=Path), help="work folder"
)
@click.option("--results", default="results", show_default=True, type=click.Path(path_type=Path), help="where pages go")
@click.option("--seeds", default=3, show_default=True, help="seeds of every learner that has any")
@click.option("--tasks", default=80, show_default=True, help="5-way test tasks at each number of shots")
@click.option("--tasks-20", default=40, show_default=True, help="20-way test tasks at each number of shots")
@click.option("--validate-tasks", default=60, show_default=True, help="validation tasks by which a rate is chosen")
@click.option("--jobs", default=2, show_default=True, help="processes side by side while rates are chosen")
def main(runs: Path, results: Path, seeds: int, tasks: int, tasks_20: int, validate_tasks: int, jobs: int) -> None:
    """Train, choose, compare; what is finished already is taken as it is."""
    for name, settings in tomllib.loads((HERE / "paradigms.toml").read_text(encoding="utf-8")).items():
        for seed in range(seeds):
            train(name, dict(settings), runs / f"{name}-{seed}", seed)
    specs = {label: chosen(label, spec, runs, 5, validate_tasks, jobs) for label, spec in FINE_TUNED.items()}
    specs_20 = {label: chosen(label, FINE_TUNED[label], runs, 20, validate_tasks, jobs) for label in SOME}
    everything = specs["fine-tune everything"]
    pretrained = f"backbone={runs}/pretrained-{{seed}}"
    frozen = {label: f"{spec},{pretrained}" for label, spec in FEATURES.items()}
    tuned = {label: f"{spec},{pretrained}" for label, spec in specs.items()}
    tuned_20 = {label: f"{spec},{pretrained}" for label, spec in specs_20.items()}
    random = {FROM_RANDOM: f"{everything},backbone=random"}
    modes = ("transductive", "inductive")
    meta_5 = {f"MAML ({mode})": f"{runs}/maml-5-{{seed}}:batch_norm={mode},steps=1" for mode in modes}
    first = {f"first-order MAML ({mode})": f"{runs}/fomaml-5-{{seed}}:batch_norm={mode},steps=1" for mode in modes}
    meta_20 = {f"MAML ({mode})": f"{runs}/maml-20-{{seed}}:batch_norm={mode},steps=1" for mode in modes}

    slow = {"linearised": tuned.pop("linearised")}  # one thread, and a second derivative a step: at 1 shot alone
    compare(PIXELS | frozen | tuned | random | meta_5 | first, runs / "5-way", 5, "1,5,10", tasks, seeds)
    near = {name: tuned[name] for name in SOME[:2]}
    compare(near | slow, runs / "linearised", 5, "1", tasks_20, seeds)
    compare(PIXELS | frozen | tuned_20 | meta_20, runs / "20-way", 20, "1,5", tasks_20, seeds)
    steps = {n: tuned[n] for n in SOME} | meta_5
    compare(steps, runs / "steps", 5, "1", tasks_20, seeds, curves=True)
    keep(runs / "5-way", results, "paradigms-5way")
    keep(runs / "20-way", results, "paradigms-20way")
    keep(runs / "linearised", results, "paradigms-linearised")
    shutil.copy(runs / "steps" / "against_steps.png", results / "paradigms-steps.png")
    click.echo(f"written: {results}/paradigms-*; the reading of them is results/paradigms.md")


def train(name: str, settings: dict[str, Any], out: Path, seed: int) -> None:
    """Train one seed unless it is finished."""
    if (out / "run.json").exists() and read_record(out).get("state") == "finished":
        return
    config = settings.pop("config", None)
    words = (
        ["meta-train", "--config", str(HERE / f"{config}.toml")] if config else ["pretrain", "--dataset", "omniglot"]
    )
    given = [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    metaft(*words, *given, "--seed", str(seed), "--out", str(out), "--overwrite")


def chosen(label: str, spec: str, runs: Path, ways: int, tasks: int, jobs: int) -> str:
    """A learner with its rate chosen on validation classes by ``metaft sweep``, at 1 shot, from seed 0."""
    folder = runs / f"rates-{ways}" / label.replace(" ", "-")
    if not (folder / "chosen.toml").exists():
        grid = "\n".join(
            [
                'command = "validate"',
                f'learner = "{spec},backbone={runs}/pretrained-{{seed}}"',
                "seeds = [0]",
                "[base]",
                'dataset = "omniglot"\nrotations = false\nshots = 1\nqueries = 15',
                f"ways = {ways}",
                f"validate_tasks = {tasks}",
                "[grid]",
                f"rate = {RATES}",
            ]
        )
        file = folder.with_suffix(".toml")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, grid.encode())
        again = ["--resume"] if folder.exists() else []
        metaft("sweep", *([] if again else [str(file)]), "--out", str(folder), "--jobs", str(jobs), *again)
    rate = rate_of(folder)
    return f"{spec},rate={rate}"


def rate_of(folder: Path) -> str:
    """The rate a sweep chose."""
    from metaft.commands.sweep.record import chosen_learner
    from metaft.learners.spec import parse

    return str(parse(chosen_learner(str(folder))).options["rate"])


def compare(
    learners: dict[str, str], out: Path, ways: int, shots: str, tasks: int, seeds: int, curves: bool = False
) -> None:
    """``metaft compare`` on Omniglot's evaluation alphabets, unrotated."""
    specs = [f"{spec}{',' if ':' in spec else ':'}label={label}" for label, spec in learners.items()]
    again = ["--resume"] if (out / "results.jsonl").exists() else []
    metaft(
        "compare", *specs, "--dataset", "omniglot", "--no-rotations", "--ways", str(ways), "--shots", shots,
        "--queries", "10", "--tasks", str(tasks), "--seeds", str(seeds), "--out", str(out), *again,
        "--curves" if curves else "--no-curves", "--workers", "auto",
    )  # fmt: skip


def keep(folder: Path, results: Path, name: str) -> None:
    """Copy a comparison's table and pictures."""
    text = (folder / "comparison.md").read_text(encoding="utf-8")
    for picture in ("against_shots", "against_time"):
        if (folder / f"{picture}.png").exists():
            kind = picture.removeprefix("against_")
            shutil.copy(folder / f"{picture}.png", results / f"{name}-{kind}.png")
            text = text.replace(f"{picture}.png", f"{name}-{kind}.png")
    write_atomically(results / f"{name}.md", text.encode())
    shutil.copy(folder / "comparison.json", results / f"{name}.json")


def metaft(*words: str) -> None:
    """Run a command as a user would, shown before it runs."""
    click.echo("metaft " + " ".join(words))
    subprocess.run([sys.executable, "-m", "metaft", *words], check=True)


if __name__ == "__main__":
    main()
