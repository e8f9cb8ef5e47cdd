"""A known reward against the distance from the start: PPO, DPO and the best of n (Gao et al. 2023, figure 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.jobs import metaft
from experiments.preferences.sentiment import accuracy, gold, proxy
from metaft.assembly.backbone import load_backbone
from metaft.assembly.causal_model import causal_model
from metaft.data.dialogues.conversation import Prompt
from metaft.data.dialogues.prompts import prompts
from metaft.data.splits import ALL
from metaft.evaluation.statistics import mean_interval
from metaft.evaluation.style import COLOURS, MARKERS, blank, tidy
from metaft.files import write_atomically
from metaft.language.chat import template
from metaft.language.sampling import Sampled, sampled
from metaft.preferences.best_of import best_of_kl, expected_best
from metaft.preferences.policy import Policy
from metaft.preferences.ppo.ppo import measured

TOGETHER = 256
"""Answers that are drawn at once."""
ROLLOUT, UPDATES = 64, 4
"""Answers of a rollout, and updates that are made from it."""
TRAINING, HELD = "training.txt", "held-out.txt"
"""Prompts, one a line."""


class Said:
    """Answers to prompts of a corpus, their scores, and how far they are from the start.

    Args:
        plan: the part of the plan.
    """

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.plan = plan
        self.start, self.tokenizer = causal_model(plan["model"])
        self.chat = template("text", plan["model"], self.tokenizer)

    def read(self, texts: Sequence[Prompt]) -> list[tuple[int, ...]]:
        """Prompts as numbers."""
        return [self.chat.opened(one, self.tokenizer) for one in texts]

    def answers(
        self, model: Any, read: Sequence[Sequence[int]], seed: int
    ) -> tuple[list[str], list[str], list[Sampled]]:
        """Prompts and answers in words, and as they were drawn."""
        drawn = [
            sampled(model, read[at : at + TOGETHER], words=self.plan["words"], ends=(), seed=seed,
                    numbers=range(at, min(at + TOGETHER, len(read))), vocabulary=self.tokenizer.vocabulary)
            for at in range(0, len(read), TOGETHER)
        ]  # fmt: skip
        before = [self.tokenizer.decode(list(ids)) for ids in read]
        return before, [self.tokenizer.decode(list(ids)) for part in drawn for ids in part.texts()], drawn

    def scored(self, run: Path, read: Sequence[Sequence[int]], seed: int) -> dict[str, list[float]]:
        """What a tuned policy's answers are worth, and log π/π_ref of each."""
        model = load_backbone(run)
        before, said, drawn = self.answers(model, read, seed)
        policy, reference = Policy(model, valued=True), Policy(self.start, valued=True)
        kl: list[float] = []
        for at, part in zip(range(0, len(read), TOGETHER), drawn, strict=True):
            texts = [torch.tensor(ids) for ids in read[at : at + TOGETHER]]
            padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
            theirs = lambda ids, asked: reference.scores_and_values(reference.params, ids, asked)[0]
            own, other, _ = measured(policy.scores_and_values, policy.params, theirs, padded, part.ids)
            kl += (own - other).sum(-1).tolist()
        return {"proxy": proxy(before, said), "gold": gold(before, said), "kl": kl}

    def pairs(self, file: Path, seed: int) -> None:
        """Two answers of the start to each prompt, the better by the proxy chosen: what DPO is tuned by."""
        own = prompts(file.parent / TRAINING, "train")
        count = self.plan["answers"] // 2
        chosen = [own[i] for i in np.random.default_rng(seed).integers(0, len(own), count)]
        read = self.read(chosen)
        both = [self.answers(self.start, read, 2 * seed + place)[:2] for place in range(2)]
        worth = [proxy(*one) for one in both]
        rows = []
        for i, (prompt, first, second) in enumerate(zip(chosen, both[0][1], both[1][1], strict=True)):
            if worth[0][i] != worth[1][i] and first.strip() != second.strip():
                better, worse = (first, second) if worth[0][i] > worth[1][i] else (second, first)
                rows.append({"prompt": prompt[0].text, "chosen": better.strip(), "rejected": worse.strip()})
        write_atomically(file, "\n".join(map(json.dumps, rows)).encode())


def parted(plan: Mapping[str, Any], runs: Path) -> tuple[Path, Path]:
    """Write the beginnings of a corpus' passages to two files.

    Args:
        plan: the part of the plan.
        runs: work folder.

    Returns:
        The file of what is trained with (a tenth of it chooses weights), and of what is held out, drawn by seed 0.
    """
    runs.mkdir(parents=True, exist_ok=True)
    own = [one[0].text for one in prompts(plan["dataset"], ALL, words=8)]
    order = np.random.default_rng(0).permutation(len(own))
    for name, chosen in ((HELD, order[: plan["prompts"]]), (TRAINING, order[plan["prompts"] :])):
        write_atomically(runs / name, "\n".join(own[i] for i in sorted(chosen)).encode())
    return runs / TRAINING, runs / HELD


def curves(plan: Mapping[str, Any], runs: Path, seeds: int) -> dict[str, Any]:
    """Train and score everything; what is finished is taken as it is.

    Args:
        plan: the part of the plan.
        runs: work folder.
        seeds: how many.

    Returns:
        What is kept: by method and β, a score for each seed and prompt; the best of n.
    """
    said = Said(plan)
    training, held_out = parted(plan, runs)
    held = said.read(prompts(held_out, ALL))
    for seed in range(seeds):
        for beta in plan["ppo"]:
            out = runs / f"ppo-{beta}-{seed}"
            how = f"ppo:beta={beta},words={plan['words']},epochs=2,minibatches=2"
            _tune(out, how, plan, seed, ROLLOUT, UPDATES * plan["answers"] // ROLLOUT, "--dataset", str(training),
                  "--template", "text", "--reward", "experiments.preferences.sentiment:proxy")  # fmt: skip
        file = runs / f"pairs-{seed}.jsonl"
        if not file.exists():
            said.pairs(file, seed)
        for beta in plan["dpo"]:
            _tune(runs / f"dpo-{beta}-{seed}", f"dpo:beta={beta}", plan, seed, 16, plan["answers"] // 16,
                  "--dataset", str(file), "--template", "text")  # fmt: skip
    found: dict[str, Any] = {
        "accuracy": {which: accuracy(which) for which in ("proxy", "gold")},
        "methods": {},
        "seconds": {},
    }
    for method in ("ppo", "dpo"):
        for beta in plan[method]:
            scores = [_kept(runs / f"{method}-{beta}-{seed}", said, held, seed) for seed in range(seeds)]
            found["seconds"][f"{method} {beta}"] = [
                json.loads((runs / f"{method}-{beta}-{seed}" / "run.json").read_text(encoding="utf-8"))["seconds"]
                for seed in range(seeds)
            ]
            found["methods"][f"{method} {beta}"] = [
                {name: mean_interval(torch.tensor(one[name], dtype=torch.double)) for name in one} for one in scores
            ]
    found["best of"] = [best_of_start(said, held, plan["samples"], seed) for seed in range(seeds)]
    return found


def _kept(run: Path, said: Said, held: Sequence[Sequence[int]], seed: int) -> dict[str, list[float]]:
    file = run / "held-out.json"
    if not file.exists():
        write_atomically(file, json.dumps(said.scored(run, held, 1000 + seed)).encode())
    found: dict[str, list[float]] = json.loads(file.read_text(encoding="utf-8"))
    return found


def best_of_start(said: Said, held: Sequence[Sequence[int]], samples: int, seed: int) -> dict[int, dict[str, float]]:
    """The best of n answers of the start by the proxy, and what gold says of it; n is a power of two."""
    many = [ids for ids in held for _ in range(samples)]
    before, answers, _ = said.answers(said.start, many, 2000 + seed)
    worth = {
        name: torch.tensor(score(before, answers), dtype=torch.double).view(-1, samples)
        for name, score in (("proxy", proxy), ("gold", gold))
    }
    found = {}
    for n in (2**power for power in range(samples.bit_length())):
        found[n] = {name: float(expected_best(worth["proxy"], n, own).mean()) for name, own in worth.items()}
        found[n]["kl"] = float(best_of_kl(n))
    return found


def _tune(out: Path, how: str, plan: Mapping[str, Any], seed: int, batch: int, updates: int, *more: str) -> None:
    record = out / "run.json"
    state = json.loads(record.read_text(encoding="utf-8")).get("state") if record.exists() else None
    if state == "finished":
        return
    if state is not None:
        metaft("tune", "--resume", "--out", str(out), "--quiet")
        return
    metaft("tune", "--objective", how, *plan["shared"], *more, "--seed", str(seed), "--batch-size", str(batch),
           "--iterations", str(updates), "--out", str(out), "--quiet")  # fmt: skip


def draw(found: Mapping[str, Any], file: Path) -> None:
    """The picture: what is climbed, and what it stands for, against the root of the divergence.

    Args:
        found: as `curves`.
        file: where to.
    """
    figure = blank(8.4, 3.6)
    titles = {"proxy": "the reward that is climbed", "gold": "a better judge, which nobody climbs"}
    for axes, (name, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        for number, method in enumerate(("ppo", "dpo", "best of")):
            points = _points(found, method, name)
            style = {"color": COLOURS[number], "marker": MARKERS[number], "markersize": 4, "linewidth": 1.4}
            axes.plot(
                [x for x, _, _ in points],
                [y for _, y, _ in points],
                label=method.replace("best of", "best of n"),
                **style,
            )
            for x, _, all_seeds in points:
                axes.plot([x] * len(all_seeds), all_seeds, ".", color=COLOURS[number], markersize=3, alpha=0.6)
        tidy(axes, "√KL from the start (nats a text)", "log-odds of positive" if name == "proxy" else "", title)
    figure.axes[0].legend(frameon=False, fontsize=9)
    figure.savefig(file, dpi=150)


def _points(found: Mapping[str, Any], method: str, name: str) -> list[tuple[float, float, list[float]]]:
    """By distance: the root of the mean divergence, the mean score over seeds, and those of the seeds."""
    if method == "best of":
        rows = [[one[n] for one in found["best of"]] for n in found["best of"][0]]
        values = [([row["kl"] for row in seeds], [row[name] for row in seeds]) for seeds in rows]
    else:
        own = [seeds for key, seeds in found["methods"].items() if key.startswith(method)]
        values = [([one["kl"][0] for one in seeds], [one[name][0] for one in seeds]) for seeds in own]
    points = [(max(float(np.mean(kl)), 0.0) ** 0.5, float(np.mean(scores)), scores) for kl, scores in values]
    return sorted(points)
