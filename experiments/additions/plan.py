"""The plan of the experiment as words of commands: what is trained, and which learners are compared."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.jobs import program
from experiments.training import HERE
from metaft.commands.sweep.processes import Job

PLAN = tomllib.loads((HERE / "additions" / "plan.toml").read_text(encoding="utf-8"))
BASELINE = "class means"
Start = tuple[str, str]
"""An addition, and how its start is trained."""


def starts(part: str) -> list[Start]:
    """What a part of the page compares, in the plan's order."""
    return [(addition, start) for addition, start in PLAN["compared"][part]]


def label_of(addition: str, start: str) -> str:
    """What a start is called in tables."""
    return f"{addition}, {start}"


def run_of(runs: Path, addition: str, start: str, seed: int | str) -> Path:
    """Where a start is trained."""
    return runs / f"{addition}-{start}-{seed}".replace(" ", "-").replace(",", "")


def trained(runs: Path, addition: str, start: str, seeds: int) -> bool:
    """Whether the start is there with every seed."""
    wanted = PLAN["starts"][start]["iterations"]
    return all(iterations(run_of(runs, addition, start, seed)) >= wanted for seed in range(seeds))


def iterations(run: Path) -> int:
    """How many a run has done; 0 where there is none."""
    file = run / "run.json"
    return int(json.loads(file.read_text()).get("iteration") or 0) if file.exists() else 0


def training(wanted: Iterable[Start], runs: Path, seeds: int) -> Iterator[Job]:
    """The programs that train what is not there yet; seeds in turn, so that few of them are of use already."""
    listed = list(dict.fromkeys(wanted))
    for seed in range(seeds):
        for addition, start in listed:
            folder = run_of(runs, addition, start, seed)
            if iterations(folder) < PLAN["starts"][start]["iterations"]:
                yield program(folder.name, train_words(addition, start, seed, folder), folder, folder)


def train_words(addition: str, start: str, seed: int, folder: Path) -> list[str]:
    """``metaft meta-train`` of one start."""
    how = [w for n, v in PLAN["starts"][start].items() for w in (f"--{n.replace('_', '-')}", str(v))]
    return [
        "meta-train", "--dataset", "intents:within=domain", "--queries", str(PLAN["test"]["queries"]), "--tasks", "4",
        "--workers", "1", "--addition", PLAN["additions"][addition], *how, "--seed", str(seed), "--out", str(folder),
        "--resume" if (folder / "run.json").exists() else "--quiet",
    ]  # fmt: skip


def search_words(label: str, folder: Path) -> list[str]:
    """``metaft meta-train`` of a setting that is tried on validation domains."""
    own = {"model": "hf:minilm:dropout=0", "tasks": 4, **PLAN["search"][label]}
    own.pop("run")
    return [
        "meta-train", "--dataset", "intents:within=domain", "--queries", str(PLAN["test"]["queries"]), "--workers", "1",
        "--learner", "protonet:distance=cosine", "--validate-every", "100", "--validate-tasks", "200",
        "--test-tasks", "20", "--seed", "0", *option_pairs(own), "--out", str(folder),
        "--resume" if (folder / "run.json").exists() else "--quiet",
    ]  # fmt: skip


def from_pretrained(label: str, rate: float, steps: int) -> str:
    """A learner of the plan's ``adapted`` with a head from prototypes, as ``metaft compare`` reads it."""
    return f"proto-maml:backbone={PLAN['test']['backbone']},{_put_in(label)},steps={steps},inner_lr={rate}"


def with_new_head(label: str, rate: float, steps: int) -> str:
    """Likewise with a head from zeros."""
    return f"fine-tuning:backbone={PLAN['test']['backbone']},{_put_in(label)},steps={steps},rate={rate}"


def _put_in(label: str) -> str:
    name, _, value = PLAN["adapted"][label].partition("=")
    return f"{name}={PLAN['additions'][value].replace(',', ';') if name == 'addition' else value}"


def as_class_means(wanted: Iterable[Start], runs: Path) -> dict[str, str]:
    """Starts that answer by class means of their features, which are computed once for all tasks.

    At one shot that is what ProtoNet by cosine does. With more its class means are of features as they are, and here
    of features of one length.
    """
    return {
        label_of(addition, start): f"class-means:backbone={run_of(runs, addition, start, '{seed}')},normalise=l2"
        for addition, start in wanted
    }


def own_steps(wanted: Iterable[Start], runs: Path) -> dict[str, str]:
    """Starts as they were trained: with their steps, and with none where they have some."""
    specs = {}
    for addition, start in wanted:
        run, steps = run_of(runs, addition, start, "{seed}"), PLAN["starts"][start].get("steps")
        for count in (None,) if steps is None else (steps, 0):
            said = label_of(addition, start) + ("" if count is None else f", {count} steps")
            specs[said] = f"{run}" + ("" if count is None else f":steps={count}")
    return specs


def learners(part: str, wanted: Iterable[Start], runs: Path) -> dict[str, str]:
    """What a part compares: label → learner, as ``metaft compare`` reads it; class means first.

    Args:
        part: of the page, a row of the plan's ``parts`` or of ``transfer``.
        wanted: the starts that are trained.
        runs: the work folder.
    """
    inner, listed = PLAN["starts"]["exact"], list(wanted)
    specs = {BASELINE: PLAN["test"]["class_means"]}
    if part in ("shots", "rank", *PLAN["transfer"]):
        return specs | as_class_means(listed, runs)
    if part == "within":
        own = f"lora, start of its own, {inner['steps']} steps"
        return specs | {own: from_pretrained("lora", inner["inner_lr"], inner["steps"])} | own_steps(listed, runs)
    if part == "adapted":
        steps = inner["steps"]
        own_starts = {
            f"{label}, {steps} steps": from_pretrained(label, inner["inner_lr"], steps) for label in PLAN["adapted"]
        }
        return specs | own_starts | own_steps(listed, runs)
    return specs | _against_steps(listed, runs)


def _against_steps(wanted: Iterable[Start], runs: Path) -> dict[str, str]:
    """Heads from prototypes, and from zeros at two rates, before and after meta-training."""
    count, rates, inner = PLAN["steps"]["count"], PLAN["steps"]["rates"], PLAN["starts"]["exact"]["inner_lr"]
    specs = {"own start, head from prototypes": from_pretrained("lora", inner, count)}
    for rate in rates:
        specs[f"own start, head from zeros, rate {rate}"] = with_new_head("lora", rate, count)
    for addition, start in wanted:
        run, label = run_of(runs, addition, start, "{seed}"), label_of(addition, start)
        stepped = "steps" in PLAN["starts"][start]
        on = f"proto-maml:backbone={run},scope=lora,inner_lr={inner},steps={count}"
        specs[f"{label}, head from prototypes"] = f"{run}:steps={count}" if stepped else on
        for rate in rates:
            specs[f"{label}, head from zeros, rate {rate}"] = (
                f"fine-tuning:backbone={run},scope=lora,steps={count},rate={rate}"
            )
    return specs


def option_pairs(options: Mapping[str, Any]) -> list[str]:
    """Options of a command as its words."""
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
