"""The pages of experiments.meta_learners: tables with published numbers, what the time bought, why the gaps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from experiments.meta_learners.facts import mean
from experiments.meta_learners.gaps import GAP, gaps
from experiments.meta_learners.plan import PLAN, Training, stem
from experiments.meta_learners.plots import curves_figure
from experiments.meta_learners.report import Report, processors_of, processors_rows
from experiments.pages import render
from metaft.assembly.meta_learner import COMPUTING
from metaft.data.splits import SCHEMES
from metaft.evaluation.report import write_result
from metaft.evaluation.statistics import DIVERGED_ABOVE
from metaft.evaluation.style import save
from metaft.files import write_atomically
from metaft.learners.spec import parse
from metaft.settings.config import RunConfig, validated
from metaft.settings.learner import LearnerSettings


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
    extra = {
        "minutes": dict(report.minutes), "absent": dict(report.problems),
        "commands": {one.name: one.command() for one in trainings},
        "digests": {one.name: one.digest() for one in trainings},
        "remarks": list(report.remarks), "origins": [dict(one) for one in report.origins],
    }  # fmt: skip
    scores = {one.name: one.to_json() for several in report.scores.values() for one in several}
    ran = {" ".join(name): {"seeds": [one.to_json() for one in several]} for name, several in report.facts.items()}
    found = {"scores": scores, "trainings": ran}
    seeds = sorted({one.seed for several in report.facts.values() for one in several if one.seed is not None})
    write_result(results / f"{name_of_page}.json", found, _command(report.minutes, report.scheme), seeds, extra)
    drawn = []
    for name, picture in PLAN["pictures"].items():
        curves = {report.methods[key].label: mean(report.facts[key, course]).curve for key in report.methods
                  for course in picture["courses"] if (key, course) in report.facts}  # fmt: skip
        if curves:
            figure = curves_figure(curves, picture["title"], "mse" if name == "sinusoid" else "accuracy")
            save(figure, results / f"{name_of_page}-{name}.png")
            drawn.append(name)
    example = next((one.command() for one in trainings), "metaft meta-train")
    text = page(report, drawn, example, settings_told(trainings))
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
    counts: dict[str, set[int]] = {}
    for (_, course), several in report.facts.items():
        counts.setdefault(course, set()).add(len(several))
    return render(
        "experiments/meta_learners/page.md.j2", report=report,
        seeds={course: _seeds(n) for course, n in counts.items()}, scheme_told=SCHEMES[report.scheme],
        tasks={name: several[0].tasks for name, several in report.scores.items()}, drawn=drawn,
        processors_of=processors_of, told=told, processors=processors_rows(report), gap=GAP, gaps=gaps(report),
        command=_command(report.minutes, report.scheme), example=example, stem=stem(report.minutes, report.scheme),
        diverged_above=DIVERGED_ABOVE, mean=fmean,
    )  # fmt: skip


def _seeds(counts: Collection[int]) -> str:
    """``one seed``, ``3 seeds``, or ``2 to 3 seeds``."""
    low, high = min(counts), max(counts)
    return "one seed" if high == 1 else f"{low} seeds" if low == high else f"{low} to {high} seeds"


def settings_told(trainings: Iterable[Training]) -> list[str]:
    """What methods were told of learning and testing that is not their own default.

    Args:
        trainings: of all methods, courses and seeds.

    Returns:
        Such as ``MAML 20-way: steps = 1``, one a method and course that was told something.
    """
    said = {}
    for one in trainings:
        own, now = (validated(RunConfig, settings) for settings in
                    ({"learner": one.method.trained_as, **one.course.settings}, one.settings))  # fmt: skip
        told = {name: getattr(now, name) for name in LearnerSettings.model_fields
                if name not in COMPUTING and getattr(now, name) != getattr(own, name)}  # fmt: skip
        if "learner" in told:  # its options are what was told of it
            told = {**parse(told.pop("learner")).options, **told}
        steps = one.method.test_steps.get(one.course.name, now.test_steps)
        told |= {"test_steps": steps or now.steps} if steps != own.test_steps else {}
        shown = [
            f"`{name} = {str(value).lower() if isinstance(value, bool) else value}`" for name, value in told.items()
        ]
        if shown:
            said[one.method.label, one.course.name] = f"{one.method.label} {one.course.name}: {', '.join(shown)}"
    return list(said.values())


def _command(minutes: Mapping[str, float], scheme: str) -> str:
    times = f"--minutes {minutes['5-way']:g} --sinusoid-minutes {minutes['sinusoid']:g}"
    return f"python -m experiments.meta_learners {times} --scheme {scheme}"
