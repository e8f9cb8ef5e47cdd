"""Score a run of ``metaft tune`` on examples that it has not seen, beside its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from metaft.assembly.networks import room_for_words
from metaft.assembly.tuning import build_tuning
from metaft.errors import MetaftError
from metaft.evaluation.statistics import mean_interval, wilson
from metaft.evaluation.validation import Validation
from metaft.plain_json import write_json
from metaft.preferences.divergence import divergence
from metaft.preferences.families import PreferenceFamily
from metaft.preferences.learner import Tuning
from metaft.preferences.policy import Policy
from metaft.preferences.turn_form import ANSWERED, WORDS, TurnForm
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
    found = {"start": _with(score(), answered(family, learner, examples))}
    learner.params = {**learner.params, **chosen}
    found["tuned"] = _with(score(), answered(family, learner, examples))
    if isinstance(family, PreferenceFamily):
        found |= guesses(family, learner.policy, {**learner.params, **learner.start}, examples)
    file = Path(json_file) if json_file is not None else Path(path) / f"evaluation-{split}.json"
    told: dict[str, Any] = {"split": split, "examples": min(examples, len(family)), "weights": weights}  # type: ignore[arg-type]
    told |= {"metric": family.metric, "scores": {name: asdict(one) for name, one in found.items()}}  # type: ignore[attr-defined]
    write_json(file, told)
    return str(family.metric), found, file  # type: ignore[attr-defined]


def answered(family: Any, learner: Tuning, examples: int) -> dict[str, float]:
    """What there is to say of a model's own answers to the first prompts.

    Args:
        family: has the prompts.
        learner: answers.
        examples: prompts, at most; not more than `metaft.preferences.turn_form.ANSWERED`.

    Returns:
        "kl": nats from the start an answer; shares of the likeliest answers as `TurnForm.kept` has them, and the mean
        number of their words. Nothing of what does not answer, or has no room to.
    """
    form: TurnForm | None = family.form
    if form is None:
        return {}
    most = room_for_words(learner.policy.module.model)
    prompts = family.prompts(min(examples, ANSWERED))
    prompts = [prompt for prompt in prompts if most is None or len(prompt) + WORDS < most]
    if not prompts:
        return {}
    start = {**learner.params, **learner.start}
    ratio = divergence(
        learner.policy, learner.params, start, prompts, words=WORDS, ends=form.ends,
        vocabulary=form.tokenizer.vocabulary,
    )  # fmt: skip
    found = form.of(learner.policy, learner.params, prompts)
    told = dict(zip(("kl", "kl_ci95"), mean_interval(ratio), strict=True))
    told |= {name: float(value.double().mean()) for name, value in found.items()}
    low, high = wilson(told["in form"], len(prompts))
    return told | {"in form_ci95": (high - low) / 2}


def _with(one: Validation, more: Mapping[str, float]) -> Validation:
    return replace(one, more={**one.more, **more})


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
