"""Score a run of ``metaft tune`` on examples that it has not seen, beside its start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from metaft.assembly.tuning import build_tuning
from metaft.errors import MetaftError
from metaft.evaluation.statistics import mean_interval
from metaft.evaluation.validation import Validation
from metaft.files import write_atomically
from metaft.preferences.families import PreferenceFamily
from metaft.preferences.policy import Policy
from metaft.runs import checkpoint
from metaft.runs.directory import RunDirectory
from metaft.runs.frozen_base import filled
from metaft.runs.own_adapters import with_own_adapters
from metaft.runs.recorded import recorded_config
from metaft.settings.tune import TuneConfig
from metaft.validate import require_count

SPLITS, WEIGHTS = ("train", "val", "test"), ("best", "last")


def evaluate_tuned(
    path: str | Path,
    examples: int = 600,
    split: str = "test",
    weights: str = "best",
    json_file: str | Path | None = None,
) -> tuple[str, dict[str, Validation], Path]:
    """Score a tuned model and its start on the same examples.

    Args:
        path: the run directory.
        examples: at most so many.
        split: "train", "val" or "test".
        weights: "best" by validation, or "last".
        json_file: where to write the result; by default in the run directory.

    Returns:
        What is measured; "start" and "tuned", each with its score, and of pairs what needs no preferences to guess by;
        and where it was written.

    Raises:
        MetaftError: if there is no such run, or a name or number does not fit.
    """
    for what, value, known in (("split", split, SPLITS), ("weights", weights, WEIGHTS)):
        if value not in known:
            raise MetaftError(f"{what} = {value!r}: should be one of {', '.join(known)}")
    require_count(examples, "tasks", 2)
    config = recorded_config(path)
    if not isinstance(config, TuneConfig):
        raise MetaftError(f"{path} is no run of metaft tune")
    made = build_tuning(with_own_adapters(config, path), ("train", split))
    learner, family = made.learner, made.validation
    assert family is not None
    stored = filled(checkpoint.load_newest(RunDirectory(path).checkpoints), learner.params)
    chosen = stored.chosen(weights)
    checkpoint.require_fit(chosen, learner.params, stored.path)
    score = lambda: family.score(learner, examples, "cpu")  # type: ignore[attr-defined]
    found = {"start": score()}
    learner.params = {**learner.params, **chosen}
    found["tuned"] = score()
    if isinstance(family, PreferenceFamily):
        found |= guesses(family, learner.policy, {**learner.params, **learner.start}, examples)
    file = Path(json_file) if json_file is not None else Path(path) / f"evaluation-{split}.json"
    told: dict[str, Any] = {"split": split, "examples": min(examples, len(family)), "weights": weights}  # type: ignore[arg-type]
    told |= {"metric": family.metric, "scores": {name: asdict(one) for name, one in found.items()}}  # type: ignore[attr-defined]
    write_atomically(file, json.dumps(told, indent=2).encode())
    return str(family.metric), found, file  # type: ignore[attr-defined]


@torch.no_grad()
def guesses(
    family: PreferenceFamily, policy: Policy, start: Mapping[str, torch.Tensor], pairs: int
) -> dict[str, Validation]:
    """How often simple rules take the answer that people like better.

    Args:
        family: the pairs.
        policy: the network.
        start: its parameters before it was tuned.
        pairs: so many of the first.

    Returns:
        "longer": the answer of more words; "likelier": the one that the start finds more probable; "likelier a word".
    """
    right: dict[str, list[torch.Tensor]] = {"longer": [], "likelier": [], "likelier a word": []}
    for batch in family.first(pairs):
        words = batch.asked.sum(-1).double()  # type: ignore[attr-defined]
        said = torch.stack([
            policy.log_probabilities(start, ids, asked).sum(-1).double()
            for ids, asked in zip(batch.ids, batch.asked, strict=True)  # type: ignore[attr-defined]
        ])  # fmt: skip
        for name, score in (("longer", words), ("likelier", said), ("likelier a word", said / words)):
            margin = score[:, 0] - score[:, 1]
            right[name].append((margin > 0).double() + 0.5 * (margin == 0).double())
    found = {}
    for name, parts in right.items():
        mean, ci95 = mean_interval(torch.cat(parts))
        found[name] = Validation(
            float("nan"), float("nan"), float("nan"), mean, {"accuracy": mean, "accuracy_ci95": ci95}
        )
    return found
