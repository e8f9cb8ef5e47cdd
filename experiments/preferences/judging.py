"""A small model as a judge: how often it agrees with people, beside simple rules. Numbers alone, no texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from metaft.assembly.causal_model import chat_model
from metaft.data.dialogues.load import preferences
from metaft.evaluation.statistics import seed_spread
from metaft.files import write_atomically
from metaft.language.chat_model import ChatModel
from metaft.plain_json import finite
from metaft.preferences.feedback.agreement import report
from metaft.preferences.feedback.judge import Judge, Pair, Verdicts
from metaft.preferences.feedback.principle import find_principle
from metaft.preferences.feedback.rules import RULES, rule_scores
from metaft.tasks.random import generator


def judging(plan: Mapping[str, Any], runs: Path, seeds: int) -> dict[str, Any]:
    """Judge pairs that nothing was tuned on; each seed has pairs of its own, none of them another's.

    What is finished in the work folder is taken as it is.

    Args:
        plan: the part of plan.toml.
        runs: work folder.
        seeds: how many.

    Returns:
        By data set: a report a seed, one of all pairs together, and the spread of the judge's agreement over seeds.
    """
    chat = chat_model(plan["model"])
    found: dict[str, Any] = {one["dataset"]: {"principle": one["principle"], "seeds": []} for one in plan["sets"]}
    kept: dict[str, list[tuple[Verdicts, dict[str, torch.Tensor]]]] = {name: [] for name in found}
    for seed in range(seeds):
        for one in plan["sets"]:
            kept[one["dataset"]].append(_part(one, chat, runs / f"{one['dataset']}-{seed}.json", seed))
    for name, parts in kept.items():
        found[name]["seeds"] = [finite(report(*part, True).to_json()) for part in parts]
        rules = {rule: torch.cat([own[rule] for _, own in parts]) for rule in RULES}
        found[name]["all"] = finite(report(Verdicts.joined([own for own, _ in parts]), rules, True).to_json())
        agreement = [own["agreement"]["judge"]["mean"] for own in found[name]["seeds"]]
        found[name]["spread"] = finite(vars(seed_spread(agreement)))
    return found


def _part(one: Mapping[str, Any], chat: ChatModel, file: Path, seed: int) -> tuple[Verdicts, dict[str, torch.Tensor]]:
    """Verdicts and rules of one seed's pairs, people's better answer being the first."""
    own, count = preferences(one["dataset"], "all"), int(one["pairs"])
    order = generator(0, f"judging/{one['dataset']}", 0).permutation(len(own))[seed * count :][:count].tolist()
    pairs: list[Pair] = [(own[i].prompt, own[i].chosen, own[i].rejected) for i in order]
    if not file.exists():
        asked = Judge(chat, (find_principle(one["principle"]),), int(one["length"]))
        verdicts, rules = asked(pairs), rule_scores(chat, pairs, int(one["length"]))
        told = {"first": verdicts.first.tolist(), "letters": verdicts.letters.tolist(), "cut": verdicts.cut}
        told["rules"] = {name: scores.tolist() for name, scores in rules.items()}
        write_atomically(file, json.dumps(told).encode())
    told = json.loads(file.read_text(encoding="utf-8"))
    as_numbers = lambda value: torch.tensor(value, dtype=torch.float64)
    verdicts = Verdicts(as_numbers(told["first"]), as_numbers(told["letters"]), told["cut"])
    return verdicts, {name: as_numbers(scores) for name, scores in told["rules"].items()}
