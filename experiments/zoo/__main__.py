"""Train, score and pack the learners that come with metaft: makes metaft/zoo.

Command: python -m experiments.zoo   (--only NAME,… for some; a finished run is taken as it is)
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import click

from experiments.pages import folder_option, render
from experiments.plans import chosen_names, state_of
from metaft import zoo
from metaft.evaluation.report import describe_family
from metaft.files import write_atomically
from metaft.plain_json import write_json
from metaft.runs import checkpoint
from metaft.runs.checkpoint import Checkpoint
from metaft.runs.directory import RunDirectory, read_record

TASKS = 600
PLAN = tomllib.loads(Path(__file__).with_name("plan.toml").read_text(encoding="utf-8"))
KEPT = ("config.toml", "run.json", "tokenizer.json")
"""What a learner is made from again, beside its weights."""


@click.command()
@click.option("--only", help="names of entries, joined by commas  [default: all]")
@folder_option("runs", "runs/zoo", "where runs go")
def main(only: str | None, runs: Path) -> None:
    """Make every entry; what of an entry is there already is replaced."""
    for name in chosen_names(PLAN, only, "entry"):
        how, run = PLAN[name], runs / name
        if state_of(run) != "finished":
            _metaft("meta-train", *shlex.split(how["train"]), "--out", str(run), "--quiet")
        entry = zoo.FOLDER / name
        shutil.rmtree(entry, ignore_errors=True)
        _pack(run, entry)
        told = {"name": name, **{key: how[key] for key in ("what", "data", "licence")}, **_facts(run, entry)}
        told["command"] = f"metaft meta-train {how['train']} --out runs/{name}"
        write_json(entry / zoo.CARD, told)  # without scores: an entry is scored as its users have it
        _list_checksums()
        told["scores"] = [_score(name, words, of) for words, of in how["scores"]]
        write_json(entry / zoo.CARD, told)
        write_atomically(entry / "README.md", render("experiments/zoo/card.md.j2", **told).encode())
        _list_checksums()
        click.echo(f"written: {entry}")


def _metaft(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "metaft", *words], check=True)


def _pack(run: Path, entry: Path) -> None:
    """The best weights by validation, and what the learner is made from."""
    entry.mkdir(parents=True)
    for file in (run / name for name in KEPT if (run / name).exists()):
        shutil.copyfile(file, entry / file.name)
    stored = checkpoint.load_newest(run / "checkpoints")
    progress = {"iteration": stored.progress["iteration"]}
    checkpoint.save(RunDirectory(entry).checkpoints, Checkpoint(progress, stored.chosen("best")))


def _facts(run: Path, entry: Path) -> dict[str, Any]:
    record, weights = read_record(run), checkpoint.load_newest(entry / "checkpoints").weights
    machine = record["environment"]["machine"]
    iteration, of_all, minutes = record["best_iteration"], record["iteration"], record["seconds"] / 60
    return {
        "seed": record["config"]["seed"],
        "trained": f"{of_all:,} iterations in {minutes:.1f} min, one core ({machine['cpu']}); weights of {iteration:,}",
        "parameters": sum(weight.numel() for weight in weights.values()),
        "bytes": sum(file.stat().st_size for file in entry.rglob("*") if file.is_file()),
        "versions": record["environment"]["versions"],
    }


def _score(name: str, words: str, of: str) -> dict[str, Any]:
    """What ``metaft evaluate`` says of an entry."""
    command = f"evaluate {zoo.PREFIX}{name} {words} --tasks {TASKS}".replace("  ", " ")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "score.json"
        _metaft(*command.split(), "--json", str(file), "--plot", str(file.with_suffix(".png")))
        (result,) = json.loads(file.read_text(encoding="utf-8"))["results"].values()
    told = {key: result[key] for key in ("metric", "mean", "ci95", "mode", "tasks")}
    told["diverged"] = len(result["diverged_tasks"])
    return {"command": f"metaft {command}", "tasks_of": f"{describe_family(result['family'])}: {of}", **told}


def _list_checksums() -> None:
    """Write the list, in the form of ``sha256sum --check``."""
    found = {file: digest for name in zoo.names() for file, digest in zoo.checksums(zoo.FOLDER / name).items()}
    write_atomically(zoo.FOLDER / zoo.SUMS, "".join(f"{d}  {f}\n" for f, d in found.items()).encode())


if __name__ == "__main__":
    main()
