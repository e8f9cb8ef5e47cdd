"""What the sections of the distillation page say, one an experiment, from the numbers of results/distillation.json."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.distillation.numbers import (
    BySeed,
    by_seed,
    gain,
    is_clear,
    mean_of,
    over_examples,
    over_tasks,
    percent,
    points,
    verdict,
)
from experiments.distillation.plots import accuracy_by_generation, errors_by_student, gains

Entry = Mapping[str, Any]
LABELS = tomllib.loads(Path(__file__).with_name("labels.toml").read_text(encoding="utf-8"))
STUDENTS, CONTROLS, FEWSHOT = (LABELS[name] for name in ("students", "controls", "fewshot"))
DIGITS = 10_000
GENERATIONS = [f"generation {k}" for k in range(4)]


def mnist(entry: Entry) -> dict[str, Any]:
    """Hinton's experiment: errors beside the published ones."""
    of = lambda key, run, name: by_seed(entry["rows"], key, run=run, name=name)
    errors = {label: found for label, (run, name, _) in STUDENTS.items() if (found := of("errors", run, name))}
    beside = {label: entry["published"][key] for label, (_, _, key) in STUDENTS.items() if key}
    taught, alone = (errors.get(name, {}) for name in ("student, distilled", "student, 2 × 800, on labels"))
    both = sorted(taught.keys() & alone.keys())
    rates = ({seed: 1 - found[seed] / DIGITS for seed in both} for found in (taught, alone))
    return {
        "errors": errors,
        "beside": beside,
        "told": verdict("Distilled, against the same student on labels", [taught[seed] - alone[seed] for seed in both],
                        "errors", over_examples(*rates, DIGITS, DIGITS)),
        "missed": of("left_out_errors", "without-3", "generation 1"),
        "missed_corrected": of("left_out_errors", "without-3", "generation 1 corrected"),
        "raised": of("bias_correction", "without-3", "generation 1 corrected"),
        "figure": errors_by_student({label: list(e.values()) for label, e in errors.items()}, beside),
    }  # fmt: skip


def noise(entry: Entry) -> dict[str, Any]:
    """Accuracy by generation, where some labels are wrong."""
    lines = {share: _lines(entry, share) for share in sorted({row["level"]["label_noise"] for row in entry["rows"]})}
    rows, told = [], []
    for share, runs in lines.items():
        own, longer, smooth = runs["generations"], runs["longer"].get(3, {}), runs["smoothing"].get(1, {})
        rows.append(
            [f"{100 * share:g}%", *(percent(found) for found in (*(own.get(k, {}) for k in range(4)), longer, smooth))]
        )
        last = max(own, default=0)
        ends = own.get(last, {})
        others = {f"**{100 * share:g}%**: generation {last} against generation 0": own.get(0, {}),
                  "against training as long on labels": longer, "against label smoothing": smooth}  # fmt: skip
        said = [verdict(what, points(ends, other), over_examples=over_examples(ends, other, DIGITS))
                for what, other in others.items()]  # fmt: skip
        told += [list(filter(None, said))] if any(said) else []
    drawn = {share: {run: {k: list(found.values()) for k, found in line.items()} for run, line in runs.items()}
             for share, runs in lines.items()}  # fmt: skip
    return {"rows": rows, "told": told, "figure": accuracy_by_generation(drawn)}


def _lines(entry: Entry, share: float) -> dict[str, dict[int, BySeed]]:
    """Run → generation → accuracies; generation 0 is that of the generations alone, as all start from it."""
    of = lambda run, name: by_seed(entry["rows"], "test", run=run, name=name, level={"label_noise": share})
    return {
        run: {
            k: found for k, name in enumerate(GENERATIONS) if (k or run == "generations") and (found := of(run, name))
        }
        for run in ("generations", "longer", "smoothing")
    }


def born_again(entry: Entry) -> dict[str, Any]:
    """Generations, their ensembles and the controls: classification, and few-shot tasks on their features."""
    ensembles = [f"generations 0–{k}" for k in (1, 2, 3)]
    # label → run, row, network of the few-shot scores
    ways = {name: ("generations", name, name) for name in GENERATIONS}
    ways |= {f"ensemble of {name}": ("generations", name, "") for name in ensembles}
    ways |= {f"control: {label}": (run, "generation 1", run) for run, label in CONTROLS.items()}
    ways |= {f"ensemble of generation 0 and a control: {run}": (run, "generations 0–1", "") for run in CONTROLS}
    few = few_shot(entry)
    measured = lambda run, name, network: {
        "classification": by_seed(entry["rows"], "test", run=run, name=name),
        **{head: found.get(network, {}) for head, found in few.items()},
    }
    first = measured(*ways["generation 0"])
    rows, gained = [], {place: {} for place in first}
    for label, way in ways.items():
        own = measured(*way)
        if not own["classification"]:
            continue
        ece = mean_of(by_seed(entry["rows"], "ece", run=way[0], name=way[1]), 4)
        accuracy, more, *shots = [c for place in own for c in (percent(own[place]), gain(own[place], first[place]))]
        rows.append([label, accuracy, more, ece, *shots])
        for place in own if label != "generation 0" else ():
            gained[place] |= {label: found} if (found := points(own[place], first[place])) else {}
    drawn = {place: by_way for place, by_way in gained.items() if by_way}
    last, longer = measured(*ways[GENERATIONS[-1]]), measured("longer", "generation 1", "longer")
    count = next((row["count"] for row in entry["rows"] if row.get("count")), 0)
    tasks = over_tasks(one["ci95"] for one in entry["scores"])
    wide = lambda place: tasks if place in few else over_examples(last[place], longer[place], count)
    what = lambda place: place.replace("classification", "test accuracy")
    beside = [verdict(what(place), points(last[place], longer[place]), over_examples=wide(place)) for place in last]
    return {
        "few": list(few),
        "rows": rows,
        "apart": [f"{label} ({place})" for place, by_way in gained.items() for label, found in by_way.items()
                  if label in GENERATIONS and len(found) > 1 and is_clear(found)],
        "beside": list(filter(None, beside)),
        "figure": gains(drawn, "gain over generation 0, points") if drawn else None,
    }  # fmt: skip


def representation(entry: Entry) -> dict[str, Any]:
    """The features that few-shot learners stand on, generation by generation."""
    few, rows = few_shot(entry), []
    for name in GENERATIONS[:3]:
        pairs = [(found.get(name, {}), found["generation 0"]) for found in few.values()]
        if own := by_seed(entry["rows"], "validation", run="generations", name=name):
            rows.append([name, percent(own), *(f"{percent(test)} ({gain(test, first)})" for test, first in pairs)])
    return {"few": list(few), "rows": rows}


def fewshot(entry: Entry) -> dict[str, Any]:
    """A learner of many steps teaches one of one step."""
    test = {label: by_seed(entry["scores"], "accuracy", label=label) for label in FEWSHOT}
    rows = []
    for label, run in FEWSHOT.items():
        validation, seconds, iterations = (
            by_seed(entry["rows"], key, run=run) for key in ("validation", "seconds", "iterations")
        )
        updates = ", ".join(f"{count:,}" for count in iterations.values())
        rows.append([label, percent(test[label]), percent(validation), mean_of(seconds, 1, 60), updates])
    teacher, alone, taught = test.values()
    told = verdict(
        "The taught student, against the one alone",
        points(taught, alone),
        over_examples=over_tasks(one["ci95"] for one in entry["scores"]),
    )
    weak = bool(teacher and alone) and fmean(teacher.values()) <= fmean(alone.values())
    return {"rows": rows, "told": told, "weak_teacher": weak}


def few_shot(entry: Entry) -> dict[str, dict[str, BySeed]]:
    """Head → network → accuracies on few-shot tasks by seed."""
    found: dict[str, dict[str, BySeed]] = {}
    for label in dict.fromkeys(score["label"] for score in entry["scores"]):
        network, head = label.split(" + ")
        found.setdefault(head, {})[network] = by_seed(entry["scores"], "accuracy", label=label)
    return found
