"""The pages of experiments/family.py: tables with published numbers, what the time bought, why the gaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.family_facts import mean
from experiments.family_gaps import GAP, gap_lines
from experiments.family_plan import SUITES, Training, stem
from experiments.family_plots import curves_figure
from experiments.family_tables import (
    OMNIGLOT,
    Report,
    accuracy_text,
    omniglot_table,
    processors_table,
    sinusoid_table,
    time_table,
)
from metaft.assembly.meta_learner import COMPUTING
from metaft.data.splits import SCHEMES
from metaft.evaluation.report import markdown_table, write_result
from metaft.evaluation.style import save
from metaft.files import write_atomically
from metaft.settings.config import RunConfig, validated
from metaft.settings.learner import LearnerSettings

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


def write_pages(report: Report, trainings: Sequence[Training], results: Path) -> str:
    """Write the page, its numbers as JSON and the pictures.

    Args:
        report: what to show.
        trainings: that it is of.
        results: the folder.

    Returns:
        The name of the files, without their ends.
    """
    name_of_page = stem(report.minutes, report.scheme)
    results.mkdir(parents=True, exist_ok=True)
    extra: dict[str, Any] = {"minutes": dict(report.minutes), "absent": dict(report.problems)}
    extra |= {"commands": {one.name: one.command() for one in trainings}}
    extra |= {"digests": {one.name: one.digest() for one in trainings}}
    extra |= {"remarks": list(report.remarks), "origins": [dict(one) for one in report.origins]}
    seeds = sorted({one.seed for several in report.facts.values() for one in several if one.seed is not None})
    write_result(results / f"{name_of_page}.json", _json(report), _command(report.minutes, report.scheme), seeds, extra)
    drawn = []
    for name, (title, courses) in PICTURES.items():
        curves = {report.methods[key].label: mean(report.facts[key, course]).curve
                  for key in report.methods for course in courses if (key, course) in report.facts}  # fmt: skip
        if curves:
            save(
                curves_figure(curves, title, "mse" if name == "sinusoid" else "accuracy"),
                results / f"{name_of_page}-{name}.png",
            )
            drawn.append(name)
    text = page(
        report, drawn, next((one.command() for one in trainings), "metaft meta-train"), settings_told(trainings)
    )
    write_atomically(results / f"{name_of_page}.md", text.encode())
    return name_of_page


def page(report: Report, drawn: Sequence[str], example: str, told: Sequence[str] = ()) -> str:
    """The page.

    Args:
        report: what to show.
        drawn: names of the pictures that exist.
        example: the command of one training.
        told: what methods were told, see `settings_told`.

    Returns:
        Markdown.
    """
    tasks = {name: several[0].tasks for name, several in report.scores.items()}
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
            "seeds). The interval is of one row, for these weights; the scores task by task were not kept, so that no interval of a "
            "difference of two rows is known ([how it would be made](statistics.md)), and no row is called better than another. Learners bound to their head were trained at 5 and at 20 ways; those that are not were trained "
            "once, at 20 ways (ProtoNet at 60, as published), and are marked *any*. All were trained at 1 shot and are scored at 5 shots with the same "
            "run. Each method is scored in its own mode of batch norm, first, and in another one. Published numbers stand in the row "
            "of their mode; *(?)*: the source does not say.",
            markdown_table(*omniglot_table(report)).rstrip(),
            *_bounds(report),
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
    parts += [
        "## What the time bought",
        markdown_table(*time_table(report)).rstrip(),
        *(
            [f"Rates, steps and parts are each method's own (docs/methods.md), but for {'; '.join(told)}."]
            if told
            else []
        ),
        *report.remarks,
    ]
    if (processors := processors_table(report)) is not None:
        parts += [
            "Where one course's trainings ran on several processors, equal times are not equal work. The same test scores, "
            "in the mode of training, by processor:",
            markdown_table(*processors).rstrip(),
        ]
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
    added = " Put together with `--add`; `origins` there says from what." if report.origins else ""
    parts += [f"Command: `{_command(report.minutes, report.scheme)}`. One training alone: `{example}`. All commands, seeds, "
              f"versions and machine: `{stem(report.minutes, report.scheme)}.json`; settings: `experiments/family.toml`.{added}"]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def settings_told(trainings: Iterable[Training]) -> list[str]:
    """What methods were told of learning and testing that is not their own default.

    Args:
        trainings: of all methods, courses and seeds.

    Returns:
        Such as ``MAML 20-way: steps = 1``, one a method and course that was told something.
    """
    said = {}
    for one in trainings:
        own = validated(RunConfig, {"learner": one.method.trained_as, **one.course.settings})
        now, steps = validated(RunConfig, one.settings), one.method.test_steps.get(one.course.name)
        told = {name: getattr(now, name) for name in LearnerSettings.model_fields if name not in COMPUTING}
        told = {name: value for name, value in told.items() if value != getattr(own, name)}
        at_test = now.test_steps if steps is None else steps
        told |= {"test_steps": at_test or now.steps} if at_test != own.test_steps else {}
        shown = [
            f"`{name} = {str(value).lower() if isinstance(value, bool) else value}`" for name, value in told.items()
        ]
        if shown:
            said[one.method.label, one.course.name] = f"{one.method.label} {one.course.name}: {', '.join(shown)}"
    return list(said.values())


def _best(report: Report) -> str:
    lines = []
    for name in OMNIGLOT:
        if name not in report.scores:
            continue
        for shots, place in zip(SUITES[name].shots, SUITES[name].places(), strict=True):
            best = max((one for one in report.scores[name] if one.shots == shots), key=lambda one: one.score.mean)
            said = f"{report.methods[best.key].label}, {best.mode}, {accuracy_text(best)}"
            lines.append(f"{place}: {said} (MAML published: {report.methods['maml'].published.get(place)})")
    return "Highest here: " + "; ".join(lines) + "."


def _bounds(report: Report) -> list[str]:
    """What ``± ≤`` means, where it stands."""
    if not any(one.bound for name in OMNIGLOT for one in report.scores.get(name, ())):
        return []
    return ["± ≤: seeds were scored apart, on the same tasks, and of some only the interval was kept; that of their "
            "mean is not wider than the mean of theirs, which stands there."]  # fmt: skip


def _json(report: Report) -> dict[str, Any]:
    scores = {one.name: one.to_json() for several in report.scores.values() for one in several}
    runs = {
        f"{key} {course}": {"seeds": [one.to_json() for one in several]}
        for (key, course), several in report.facts.items()
    }
    return {"scores": scores, "trainings": runs}


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
