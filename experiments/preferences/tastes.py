"""Few-shot preferences: users whom nobody has seen, by K pairs each, from starts of several kinds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

import metaft
from experiments.jobs import compare_words
from experiments.jobs import metaft as run_metaft
from metaft.assembly.backbone import load_backbone
from metaft.evaluation.evaluate import BLOCK
from metaft.evaluation.statistics import mean_interval
from metaft.runs.directory import RunDirectory
from metaft.tasks.tastes import MixedTastes

TASK_SEED = 1000
"""Of the test's users, as ``metaft compare`` draws them."""


def tastes(plan: Mapping[str, Any], folder: Path, seeds: int) -> dict[str, Any]:
    """Train the starts, then score all on the same users.

    Args:
        plan: the part of the plan.
        folder: of the runs; what is finished there is taken as it is.
        seeds: of the starts.

    Returns:
        For each kind of users: start → shots → mean, 95% interval over users, and each seed's mean; the chosen rates
        of fine-tuning; what one finds who knows the traits; seconds of training.
    """
    return {name: _of_users(plan, plan["users"][name], folder / name, seeds) for name in plan["users"]}


def _of_users(plan: Mapping[str, Any], own: Mapping[str, Any], folder: Path, seeds: int) -> dict[str, Any]:
    data = ["--dataset", own["dataset"], *plan["data"]]
    seconds: dict[str, float] = {}
    for label, words in plan["starts"].items():
        for seed in range(seeds):
            out = folder / f"{label}-{seed}"
            _trained(
                [*data, *plan["network"], *plan["training"], *words, "--iterations", str(own["iterations"])], out, seed
            )
            seconds[label] = seconds.get(label, 0.0) + float(str(RunDirectory(out).record()["seconds"])) / seeds
    start = {"random": "random", "pooled": f"{folder}/pooled-{{seed}}"}
    rates = {name: _rate(plan, own, folder, name) for name in start}
    tuned = "fine-tuning:backbone={},head=kept,steps={},rate={}"
    specs = {f"{name}-tuned": tuned.format(start[name], plan["steps"], rates[name]) for name in start}
    specs |= {label: f"{folder}/{label}-{{seed}}" for label in plan["starts"]} | plan["frozen"]
    words = compare_words(
        specs,
        folder / "comparison",
        *data,
        *plan["network"],
        seeds=str(seeds),
        shots=plan["shots"],
        tasks=plan["tasks"],
    )
    run_metaft(*words)
    found = json.loads((folder / "comparison" / "comparison.json").read_text(encoding="utf-8"))["results"]
    scores = {label: one["shots"] for label, one in found.items()}
    told: dict[str, Any] = {"scores": scores, "rates": rates, "seconds": seconds}
    if "users=mix" in own["dataset"]:
        told["who knows the traits"] = {str(k): knows_traits(plan, own, k) for k in plan["shots"]}
    return told


def _trained(words: list[str], out: Path, seed: int) -> None:
    record = out / "run.json"
    state = json.loads(record.read_text(encoding="utf-8")).get("state") if record.exists() else None
    if state is None:
        run_metaft("meta-train", *words, "--seed", str(seed), "--out", str(out), "--quiet")
    elif state != "finished":
        run_metaft("meta-train", "--resume", "--out", str(out), "--quiet")


def _family(plan: Mapping[str, Any], own: Mapping[str, Any], split: str, shots: int, seed: int) -> Any:
    """Users of a split, as the commands draw them."""
    name, _, given = own["dataset"].partition(":")
    options: dict[str, Any] = dict(part.split("=") for part in given.split(","))
    options |= {"common": float(options["common"])} if "common" in options else {}
    said = dict(zip(plan["data"][::2], plan["data"][1::2], strict=True))
    return metaft.families.episodes(
        name, 2, shots, int(said["--queries"]), split, seed, tokenizer=said["--tokenizer"],
        max_words=int(said["--max-words"]), **options,
    )  # fmt: skip


def _rate(plan: Mapping[str, Any], own: Mapping[str, Any], folder: Path, start: str) -> float:
    """The rate of fine-tuning that serves validation users best, from the start of seed 0."""
    users = _family(plan, own, "val", plan["chosen_at"], 0)
    trained = load_backbone(folder / "pooled-0")
    if start == "random":
        words = dict(zip(plan["network"][::2], plan["network"][1::2], strict=True))
        size = {"outputs": 2, "vocabulary": users.images.vocabulary, "seed": 0}
        trained = metaft.models.build(words["--model"], **size).eval()
    scores = {}
    for rate in plan["rates"]:
        learner = metaft.learners.FineTuning(trained, head="kept", steps=plan["steps"], rate=rate)
        scores[rate] = metaft.evaluate(learner, users, tasks=plan["chosen_by"]).mean
    return float(max(scores, key=scores.__getitem__))


def knows_traits(plan: Mapping[str, Any], own: Mapping[str, Any], shots: int) -> dict[str, Any]:
    """Logistic regression, without a constant, on the differences of the traits that the users themselves weigh.

    Args:
        plan: the part of the plan.
        own: of these users.
        shots: pairs of the support set.

    Returns:
        Its mean accuracy on the test's users, and the 95% interval.
    """
    users = _family(plan, own, "test", shots, TASK_SEED)
    assert isinstance(users, MixedTastes)
    scores: list[float] = []
    block = 0
    while len(scores) < plan["tasks"]:
        rows = users.indices(block, BLOCK)
        better = users.traits[rows[:, 0]] - users.traits[rows[:, 1]]
        for own_pairs in better[: plan["tasks"] - len(scores)]:
            support, asked = own_pairs[:shots], own_pairs[shots:]
            fitted = LogisticRegression(fit_intercept=False).fit(
                np.concatenate([support, -support]), [1] * shots + [0] * shots
            )
            scores.append(float((fitted.decision_function(asked) > 0).mean()))
        block += 1
    mean, half = mean_interval(scores)
    return {"mean": mean, "ci95": half}
