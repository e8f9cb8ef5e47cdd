"""The pages of experiments/family.py: tables with published numbers, what the time bought, why the gaps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.family_facts import facts, mean
from experiments.family_gaps import GAP, gap_lines
from experiments.family_plan import SUITES, Method, Training, stem, with_seeds
from experiments.family_plots import curves_figure
from experiments.family_tables import OMNIGLOT, Report, omniglot_table, sinusoid_table, time_table
from metaft.data.splits import SCHEMES
from metaft.evaluation.comparison import Cell, Comparison
from metaft.evaluation.report import format_score, markdown_table, write_result
from metaft.evaluation.style import save
from metaft.files import write_atomically

SPLITS = {
    "alphabets": "Trained on 25 background alphabets, validated on the other 5, tested on the 20 evaluation alphabets: all "
    "of them foreign, which is harder than what published numbers are of",
    "maml": "Trained on 1,100 characters, validated on 100, tested on 423, drawn at random over all alphabets, as most "
    "published numbers are (Finn et al. 2017: 1,200 to train on)",
}
SHORTER = "family-2min-alphabets.md"
PICTURES = {
    "5-way": ("Omniglot 5-way 1-shot, validation classes", ("5-way", "any-way")),
    "20-way": ("Omniglot 20-way 1-shot, validation classes", ("20-way",)),
    "sinusoid": ("sinusoid, 10 shots, after the inner steps of training, validation waves", ("sinusoid",)),
}
"""File → its title, and the courses whose validation tasks are the same."""


def write_pages(
    methods: Mapping[str, Method],
    trainings: Sequence[Training],
    cells: Sequence[tuple[str, Training, Cell]],
    minutes: Mapping[str, float],
    scheme: str,
    problems: Mapping[str, str],
    results: Path,
) -> str:
    """Write the page, its numbers as JSON and the pictures.

    Args:
        methods: by key, in the order of the tables.
        trainings: all that were planned.
        cells: evaluations with their suite and the training they are of.
        minutes: of one training, by course.
        scheme: how characters are divided.
        problems: name → why something is absent.
        results: the folder.

    Returns:
        The name of the files, without their ends.
    """
    name_of_page = stem(minutes, scheme)
    seeded = with_seeds(trainings)
    found = {key: [facts(training) for training in several] for key, several in seeded.items()}
    report = Report(methods, found, _comparisons(methods, cells), minutes, scheme, problems)
    results.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, (title, courses) in PICTURES.items():
        curves = {methods[key].label: mean(found[key, course]).curve
                  for key in methods for course in courses if (key, course) in found}  # fmt: skip
        if curves:
            save(
                curves_figure(curves, title, "mse" if name == "sinusoid" else "accuracy"),
                results / f"{name_of_page}-{name}.png",
            )
            drawn.append(name)
    commands = {t.name: t.command() for several in seeded.values() for t in several}
    write_atomically(results / f"{name_of_page}.md", page(report, drawn, _example(seeded)).encode())
    extra = {"minutes": dict(minutes), "commands": commands, "absent": dict(problems)}
    seeds = sorted({t.seed for several in seeded.values() for t in several})
    write_result(results / f"{name_of_page}.json", _json(report), _command(minutes, scheme), seeds, extra)
    return name_of_page


def page(report: Report, drawn: Sequence[str], example: str) -> str:
    """The page.

    Args:
        report: what to show.
        drawn: names of the pictures that exist.
        example: the command of one training.

    Returns:
        Markdown.
    """
    tasks = {name: report.scores[name].tasks for name in report.scores}
    parts = [
        "# The family of meta-learners in equal time",
        f"Every training had the same time on one core: {_times(report)}. The clock starts with the first batch and counts "
        "all that a user waits for (compiling, validating, logging, checkpoints), but for starting Python and reading the "
        f"data. {_seeds(report)}; weights are the best by validation classes, and "
        "nothing was chosen on test classes.",
    ]
    if any(name in report.scores for name in OMNIGLOT):
        parts += [
            "## Omniglot",
            f"Conv4 with strides. {SPLITS.get(report.scheme, SCHEMES[report.scheme])}. Rotations are further classes in "
            f"training, and tests are unrotated: 10 queries a class, {' and '.join(f'{tasks[n]} {n} tasks' for n in OMNIGLOT if n in tasks)} at "
            "each number of shots, the same for all. Accuracy in per cent, mean ± 95% interval over tasks (range over "
            "seeds). Learners bound to their head were trained at 5 and at 20 ways; those that are not were trained "
            "once, at 20 ways (ProtoNet at 60, as published), and are marked *any*. All were trained at 1 shot and are scored at 5 shots with the same "
            "run. Each method is scored in its own mode of batch norm, first, and in another one. Published numbers stand in the row "
            "of their mode; *(?)*: the source does not say.",
            markdown_table(*omniglot_table(report)).rstrip(),
            _best(report),
        ]
    parts += [
        f"![validation score against training time, {name}]({stem(report.minutes, report.scheme)}-{name}.png)"
        for name in drawn
    ]
    if "sinusoid" in report.scores:
        parts += [
            "## Sinusoid",
            f"Finn et al. 2017, §5.1, trained at 10 shots; {tasks['sinusoid']} test waves with 100 queries. Mean squared "
            "error ± 95% interval over waves, the mean over seeds (range over seeds); the median likewise; waves that "
            "diverged (error over 50), by seed, count in the median and not in the mean. No batch norm: all inductive. "
            "Published numbers are of learners trained at 5 shots.",
            markdown_table(*sinusoid_table(report)).rstrip(),
        ]
    parts += ["## What the time bought", markdown_table(*time_table(report)).rstrip()]
    gaps = gap_lines(report)
    if gaps:
        parts += [
            f"## Why the gaps\n\nOf every score more than {100 * GAP:g} point from the published one:",
            "\n".join(gaps),
        ]
    if report.problems:
        listed = [f"- {name}: {reason}" for name, reason in report.problems.items()]
        parts += ["## Absent", "\n".join(listed)]
        if stem(report.minutes, report.scheme) == "family":
            parts += [f"All methods after a shorter time: [{SHORTER}]({SHORTER})."]
    parts += [f"Command: `{_command(report.minutes, report.scheme)}`. One training alone: `{example}`. All commands, seeds, "
              f"versions and machine: `{stem(report.minutes, report.scheme)}.json`; settings: `experiments/family.toml`."]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _best(report: Report) -> str:
    lines = []
    for name in OMNIGLOT:
        if name not in report.scores:
            continue
        for shots, place in zip(SUITES[name].shots, SUITES[name].places(), strict=True):
            row = max(report.scores[name].rows(shots), key=lambda row: row.score.mean)
            key, _, mode = row.label.partition(" ")
            said = f"{report.methods[key].label}, {mode}, {format_score(row.score.mean, row.score.ci95, 'accuracy')}"
            lines.append(f"{place}: {said} (MAML published: {report.methods['maml'].published.get(place)})")
    return "Highest here: " + "; ".join(lines) + "."


def _comparisons(methods: Mapping[str, Method], cells: Sequence[tuple[str, Training, Cell]]) -> dict[str, Comparison]:
    found: dict[str, list[Cell]] = {}
    for suite, training, cell in cells:
        label = f"{training.method.key} {_mode(cell)}"
        found.setdefault(suite, []).append(dataclasses.replace(cell, label=label))
    order = list(methods)
    for several in found.values():
        several.sort(key=lambda cell: order.index(cell.label.partition(" ")[0]))  # stable: the mode of training first
    return {name: Comparison(tuple(several), several[0].label) for name, several in found.items()}


def _mode(cell: Cell) -> str:
    """The mode, and whose statistics those are where that is not the support set or the task."""
    norm = str(cell.result.learner.get("batch_norm", ""))
    return f"{cell.result.mode} ({norm})" if norm in ("running", "per-step") else cell.result.mode


def _json(report: Report) -> dict[str, Any]:
    scores = {
        f"{name} {shots} shots: {row.label}": {
            **_plain(dataclasses.asdict(row.score)),
            "seeds": [_finite(cell.result.mean) for cell in comparison.of(row.label, shots)],
            "steps": [[_plain(dataclasses.asdict(step)) for step in cell.result.steps]
                      for cell in comparison.of(row.label, shots)],
            "ms_per_task": round(1000 * row.seconds_per_task, 3),
            "adapts": row.adapts,
            "parameters": row.parameters,
            "tasks_sha256": comparison.checksums[shots],
        }
        for name, comparison in report.scores.items() for shots in comparison.shots for row in comparison.rows(shots)
    }  # fmt: skip
    runs = {
        f"{key} {course}": {"seeds": [one.to_json() for one in several]}
        for (key, course), several in report.facts.items()
    }
    return {"scores": scores, "trainings": runs}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _finite(value) if isinstance(value, float) else value for name, value in values.items()}


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _times(report: Report) -> str:
    courses = dict.fromkeys(course for _, course in report.facts)
    return ", ".join(f"{report.minutes[course]:g} minutes ({course})" for course in courses)


def _seeds(report: Report) -> str:
    """``3 seeds``, or where they differ ``2 to 3 seeds (20-way), 3 seeds (5-way)``."""
    counts: dict[str, set[int]] = {}
    for (_, course), several in report.facts.items():
        counts.setdefault(course, set()).add(len(several))
    said: dict[str, str] = {}
    for course, n in counts.items():
        text = f"{min(n)} to {max(n)} seeds" if len(n) > 1 else f"{min(n)} seeds"
        said[course] = "one seed" if n == {1} else text
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return ", ".join(f"{text} ({course})" for course, text in said.items())


def _command(minutes: Mapping[str, float], scheme: str) -> str:
    return (
        f"python -m experiments.family --minutes {minutes['5-way']:g} --sinusoid-minutes {minutes['sinusoid']:g} "
        f"--scheme {scheme}"
    )


def _example(seeded: Mapping[tuple[str, str], Sequence[Training]]) -> str:
    return next((several[0].command() for several in seeded.values()), "metaft meta-train")
