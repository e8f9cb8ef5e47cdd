"""Rows of the tables of results/preferences.md, from what is kept of the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = list[str]
CURVES = ("", "√KL, nats", "reward", "by the other classifier", "reward of each seed", "seconds")
TUNED = ("", "score", "score of each seed", "loss", "calibration error")
FORM = ("", "in form, %", "of each seed", "ended", "empty", "another turn", "words", "nats from the start")
JUDGE = ("", "agrees with people, %", "95% interval", "of each seed's pairs")
TASTES = ("start", "1 pair", "4 pairs", "16 pairs", "seconds of training")
SHOWN = (1, 4, 16, 64)
"""Numbers of answers of which the best is taken that have a row."""


def of_curves(found: Mapping[str, Any]) -> list[Row]:
    """A row for each method and β, then for the best of some n.

    Args:
        found: as `experiments.preferences.curves.curves`, from JSON.
    """
    rows = []
    for name, seeds in found["methods"].items():
        kl = max(float(np.mean([one["kl"][0] for one in seeds])), 0.0)
        each = [one["proxy"][0] for one in seeds]
        rows.append([name.replace(" ", ", β = "), f"{kl**0.5:.2f}", _over(seeds, "proxy"), _over(seeds, "gold"),
                     _listed(each), f"{np.mean(found['seconds'][name]):.0f}"])  # fmt: skip
    for n in map(str, SHOWN):
        seeds = [one[n] for one in found["best of"]]
        each = [one["proxy"] for one in seeds]
        gold = np.mean([one["gold"] for one in seeds])
        kl = seeds[0]["kl"] ** 0.5
        rows.append([f"best of {n}", f"{kl:.2f}", f"{np.mean(each):.2f}", f"{gold:.2f}", _listed(each), "–"])
    return rows


def of_tuned(seeds: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for the start, one for what was tuned, and one for each way of guessing.

    Args:
        seeds: what `metaft evaluate` wrote of the runs. The guesses are the same in all, and so is the start, but for
            a reward model's, whose head is drawn.
    """
    rows = []
    for name in seeds[0]["scores"]:
        own = [_scored(one["scores"][name]) for one in seeds]
        each = [one["score"] for one in own]
        rows.append([name, f"{np.mean(each):.2f} ± {own[0]['ci95']:.2f}", _listed(each) if len({*each}) > 1 else "–",
                     _known(own, "loss"), _known(own, "calibration_error")])  # fmt: skip
    return rows


def of_form(seeds: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for the start and one for what was tuned: how often their answers keep to the form of a turn.

    Args:
        seeds: as for `of_tuned`; the start's answers are the same in all.
    """
    rows = []
    for name in ("start", "tuned"):
        own = [one["scores"][name]["more"] for one in seeds]
        mean = lambda what, own=own: float(np.mean([one[what] for one in own]))
        form = f"{100 * mean('in form'):.0f} ± {100 * mean('in form_ci95'):.0f}"
        each = [100 * one["in form"] for one in own]
        kl = "–" if name == "start" else f"{mean('kl'):.2f} ± {mean('kl_ci95'):.2f}"
        shares = [f"{100 * mean(what):.0f}" for what in ("ended", "empty", "turn")]
        listed = ", ".join(f"{value:.0f}" for value in each) if len({*each}) > 1 else "–"
        rows.append([name, form, listed, *shares, f"{mean('words'):.0f}", kl])
    return rows


def of_judge(found: Mapping[str, Any]) -> list[Row]:
    """A row for the judge, then for each rule, over the pairs of all seeds.

    Args:
        found: of a data set, as `experiments.preferences.judging.judging`.
    """
    rows = []
    for name, one in found["all"]["agreement"].items():
        each = ", ".join(f"{100 * seed['agreement'][name]['mean']:.1f}" for seed in found["seeds"])
        interval = f"{100 * one['low']:.1f} – {100 * one['high']:.1f}"
        rows.append([name, f"{100 * one['mean']:.1f}", interval, each])
    return rows


def of_tastes(found: Mapping[str, Any]) -> list[Row]:
    """A row for each start: accuracy in %, the 95% interval over users, and the smallest and largest seed's mean.

    Args:
        found: of one kind of users, as `experiments.preferences.tastes.tastes`, from JSON.
    """
    rows = []
    for label, shots in found["scores"].items():
        seconds = found["seconds"].get(label)
        cells = [_told(one["score"], one["seeds"]) for one in shots.values()]
        rows.append([label, *cells, "–" if seconds is None else f"{seconds:.0f}"])
    if known := found.get("who knows the traits"):
        rows.append(["who knows the traits", *(_told(one, None) for one in known.values()), "–"])
    return rows


def _told(score: Mapping[str, float], seeds: Mapping[str, float] | None) -> str:
    told = f"{100 * score['mean']:.1f} ± {100 * score['ci95']:.1f}"
    return told if seeds is None else f"{told} ({100 * seeds['low']:.1f}–{100 * seeds['high']:.1f})"


def _scored(one: Mapping[str, Any]) -> dict[str, float]:
    """Pairs: the share that is told right, in %; answers: perplexity."""
    more = one["more"]
    if "accuracy" in more:
        own = {"score": 100 * more["accuracy"], "ci95": 100 * more["accuracy_ci95"]}
    else:
        own = {"score": one["metric"], "ci95": one["ci95"]}
    loss = float("nan") if one["loss"] is None else one["loss"]  # JSON has no NaN
    return {**own, "loss": loss, "calibration_error": more.get("calibration_error", float("nan"))}


def _known(own: Sequence[Mapping[str, float]], name: str) -> str:
    mean = float(np.mean([one[name] for one in own]))
    return "–" if np.isnan(mean) else f"{mean:.3f}"


def _over(seeds: Sequence[Mapping[str, Any]], name: str) -> str:
    """The mean over seeds, with the mean half width over prompts of one."""
    return f"{np.mean([one[name][0] for one in seeds]):.2f} ± {np.mean([one[name][1] for one in seeds]):.2f}"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
