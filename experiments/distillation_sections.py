"""The sections of the distillation page, one an experiment, from the numbers of results/distillation.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.distillation_numbers import (
    BySeed,
    by_seed,
    gain,
    mean_of,
    over_examples,
    over_tasks,
    percent,
    points,
    verdict,
)
from experiments.distillation_plots import accuracy_by_generation, errors_by_student, gains
from metaft.evaluation.plots import save
from metaft.evaluation.report import markdown_table
from metaft.evaluation.statistics import mean_interval

TAUGHT, ON_LABELS = "student, distilled", "student, 2 × 800, on labels"
# what tables call it → run, row, published
STUDENTS = {
    "teacher, 2 × 1200": ("distilled", "generation 0", "teacher"),
    ON_LABELS: ("labels", "generation 1", "labels"),
    TAUGHT: ("distilled", "generation 1", "distilled"),
    "student, distilled without a single 3": ("without-3", "generation 1", ""),
    "the same, bias corrected": ("without-3", "generation 1 corrected", "without-3"),
}
DIGITS, THREES = 10_000, 1010
CONTROLS = {
    "dkpp": "soft labels, all but the largest permuted (DKPP)",
    "cwtm": "labels, weighted by the teacher's confidence (CWTM)",
    "longer": "on labels for a second time as long",
    "smoothing": "label smoothing",
}
GENERATIONS = tuple(f"generation {k}" for k in range(4))


def mnist(entry: Mapping[str, Any], results: Path) -> str:
    """Hinton's experiment: errors beside the published ones."""
    rows = entry["rows"]
    errors = {label: by_seed(rows, "errors", run=run, name=name) for label, (run, name, _) in STUDENTS.items()}
    errors = {label: found for label, found in errors.items() if found}
    published = {label: entry["published"][key] for label, (_, _, key) in STUDENTS.items() if key}
    table = markdown_table(
        ["network", "errors of 10,000", "each seed", "published"],
        [
            [label, mean_of(e, 1), ", ".join(f"{n}" for n in e.values()), published.get(label, "–")]
            for label, e in errors.items()
        ],
    )
    save(
        errors_by_student({label: list(e.values()) for label, e in errors.items()}, published),
        results / "distillation-mnist.png",
    )
    threes = ""
    missed = [
        by_seed(rows, "left_out_errors", run="without-3", name=f"generation 1{more}") for more in ("", " corrected")
    ]
    raised = by_seed(rows, "bias_correction", run="without-3", name="generation 1 corrected")
    if raised:
        threes = (
            f"The student that never saw a 3 misses {mean_of(missed[0], 0)} of {THREES:,} threes as it is, and "
            f"{mean_of(missed[1], 0)} once the bias of its 3 is raised by {mean_of(raised, 1)}: by what it takes to answer 3 as often "
            "as 3 occurs among *validation* digits (the paper chose it on the test set: by 3.5; 109 errors, 14 of them threes)."
        )
    both = set(errors.get(TAUGHT, ())) & set(errors.get(ON_LABELS, ()))
    told = verdict(
        "Distilled, against the same student on labels",
        [errors[TAUGHT][seed] - errors[ON_LABELS][seed] for seed in sorted(both)],
        "errors",
        over_examples(
            *({seed: 1 - errors[label][seed] / DIGITS for seed in both} for label in (TAUGHT, ON_LABELS)),
            DIGITS,
            DIGITS,
        ),
    )
    return f"""Hinton, Vinyals & Dean 2015, section 3. The teacher has dropout and sees images moved by up to 2 pixels; the students have
neither. Students start from the same weights, seed by seed. 54,000 digits train, 6,000 choose the checkpoint.

{table}
{f"{told}. " if told else ""}{threes}

![errors of each network](./distillation-mnist.png)
"""


def noise(entry: Mapping[str, Any], results: Path) -> str:
    """Accuracy by generation, where some labels are wrong."""
    shares = sorted({row["level"]["label_noise"] for row in entry["rows"]})
    lines = {share: _lines(entry, share) for share in shares}
    rows, told = [], []
    for share, runs in lines.items():
        own, longer = runs["generations"], runs["longer"].get(3, {})
        smooth, last = runs["smoothing"].get(1, {}), max(runs["generations"], default=0)
        rows.append(
            [f"{100 * share:g}%", *(percent(own.get(k, {})) for k in range(4)), percent(longer), percent(smooth)]
        )
        ends = own.get(last, {})
        said = [
            verdict(what, points(ends, other), over_examples=over_examples(ends, other, DIGITS))
            for what, other in (
                (f"**{100 * share:g}%**: generation {last} against generation 0", own.get(0, {})),
                ("against training as long on labels", longer),
                ("against label smoothing", smooth),
            )
        ]
        told += [f"- {'; '.join(s for s in said if s)}." for _ in range(any(said))]
    drawn = {
        share: {run: {k: list(found.values()) for k, found in points.items()} for run, points in runs.items()}
        for share, runs in lines.items()
    }
    save(accuracy_by_generation(drawn), results / "distillation-noise.png")
    heads = ["wrong labels", *GENERATIONS, "longer on labels (as long as 0 to 3)", "label smoothing"]
    listed = "\n".join(told)
    return f"""That share of the training labels is replaced by another digit, drawn evenly, and stays so for all generations;
validation and test labels are right. Students learn from soft labels alone (w = 0): no wrong label reaches them but through
their teacher. Checkpoints are chosen by right labels, which already stops a network before it has learned the wrong ones by heart.
Test accuracy, %:

{markdown_table(heads, rows)}
{listed}

![accuracy by generation](./distillation-noise.png)
"""


def _lines(entry: Mapping[str, Any], share: float) -> dict[str, dict[int, BySeed]]:
    """Run → generation → accuracies; generation 0 is that of the generations alone, as all start from it."""
    found: dict[str, dict[int, BySeed]] = {"generations": {}, "longer": {}, "smoothing": {}}
    for run, line in found.items():
        for k, name in enumerate(GENERATIONS):
            values = by_seed(entry["rows"], "test", run=run, name=name, level={"label_noise": share})
            if values and (k or run == "generations"):
                line[k] = values
    return found


def born_again(entry: Mapping[str, Any], results: Path) -> str:
    """Generations, their ensembles and the controls: classification, and few-shot tasks on their features."""
    ensembles = [f"generations 0–{k}" for k in (1, 2, 3)]
    ways = {name: ("generations", name, name) for name in GENERATIONS}
    ways |= {f"ensemble of {name}": ("generations", name, "") for name in ensembles}
    ways |= {f"control: {label}": (run, "generation 1", run) for run, label in CONTROLS.items()}
    ways |= {f"ensemble of generation 0 and a control: {run}": (run, "generations 0–1", "") for run in CONTROLS}
    few = few_shot(entry)
    first = by_seed(entry["rows"], "test", run="generations", name="generation 0")
    rows, gained = [], {"classification": {}, **{head: {} for head in few}}
    for label, (run, name, network) in ways.items():
        own = by_seed(entry["rows"], "test", run=run, name=name)
        if not own:
            continue
        shots = {head: found.get(network, {}) for head, found in few.items()}
        starts = {head: found.get("generation 0", {}) for head, found in few.items()}
        gaps = {"classification": points(own, first), **{head: points(shots[head], starts[head]) for head in few}}
        if label != "generation 0":
            for place, found in gaps.items():
                gained[place] |= {label: found} if found else {}
        ece = mean_of(by_seed(entry["rows"], "ece", run=run, name=name), 4)
        of_heads = [cell for head in few for cell in (percent(shots[head]), gain(shots[head], starts[head]))]
        rows.append([label, percent(own), gain(own, first), ece, *of_heads])
    clear = [
        f"{label} ({place})"
        for place, by_way in gained.items()
        for label, found in by_way.items()
        if label in GENERATIONS and len(found) > 1 and _is_clear(found)
    ]
    drawn = {place: by_way for place, by_way in gained.items() if by_way}
    if drawn:
        save(gains(drawn, "gain over generation 0, points"), results / "distillation-born-again.png")
    heads = [
        "",
        "test accuracy, %",
        "gain",
        "ECE",
        *(text for head in few for text in (f"few-shot, {head}, %", "gain")),
    ]
    named = f"Of the generations, clear on these examples: {', '.join(clear) or 'none'}; all others are within the seed spread."
    last, longer = (
        {
            "test accuracy": by_seed(entry["rows"], "test", run=run, name=name),
            **{head: found.get(network, {}) for head, found in few.items()},
        }
        for run, name, network in (
            ("generations", GENERATIONS[-1], GENERATIONS[-1]),
            ("longer", "generation 1", "longer"),
        )
    )
    count = next((row["count"] for row in entry["rows"] if row.get("count")), 0)
    beside = [
        verdict(
            place,
            points(last[place], longer[place]),
            over_examples=over_tasks(one["ci95"] for one in entry["scores"])
            if place in few
            else over_examples(last[place], longer[place], count),
        )
        for place in last
    ]
    against = (
        f"\nIs it the soft labels, or the longer training? {GENERATIONS[-1].capitalize()} against labels for a second time as long: "
        f"{'; '.join(text for text in beside if text)}. That control is as long as generations 0 and 1 together; none is as long "
        "as all four.\n"
        if any(beside)
        else ""
    )
    return f"""Furlanello et al. 2018: the same network again, from new initial weights, taught by the one before. The 792 characters of 25
alphabets are classified (a tenth of each one's drawings chooses the checkpoint, a fifth is the test). The same networks, frozen,
then answer 5-way 1-shot tasks of the evaluation alphabets, which none of them has seen, by class means and by a logistic head on
their features. Each control learns as long as generation 1 does, from the same generation 0; DKPP and CWTM take the place of the
soft labels and leave the labels' own share of the loss as it is.

{markdown_table(heads, rows)}
Gains are in points over generation 0 of the same seed; **bold** where the interval over seeds excludes 0, on these examples and tasks.
{named}
{_of_tasks(entry)}
{against}
![gains over generation 0](./distillation-born-again.png)
"""


def _of_tasks(entry: Mapping[str, Any]) -> str:
    """On how many few-shot tasks, in which mode, and how far an interval over those reaches."""
    scores = entry["scores"]
    if not scores:
        return ""
    modes = " and ".join(sorted({"transductive" if one["transductive"] else "inductive" for one in scores}))
    widest = 100 * max(one["ci95"] for one in scores)
    return (
        f"Few-shot scores are of {scores[0]['tasks']} tasks with 10 queries a class, the same for all, {modes}; one network's 95% interval "
        f"over tasks is at most ± {widest:.2f} points. How far a difference spreads over tasks "
        "was not kept: on other tasks a gain may be another."
    )


def _is_clear(gaps: list[float]) -> bool:
    mean, half = mean_interval(gaps)
    return abs(mean) > half


def representation(entry: Mapping[str, Any], results: Path) -> str:
    """The features that few-shot learners stand on, generation by generation."""
    few = few_shot(entry)
    rows = []
    for name in GENERATIONS[:3]:
        own = by_seed(entry["rows"], "validation", run="generations", name=name)
        cells = [
            f"{percent(found.get(name, {}))} ({gain(found.get(name, {}), found['generation 0'])})"
            for found in few.values()
        ]
        rows += [[name, percent(own), *cells]] if own else []
    heads = ["", "validation tasks, %", *(f"test tasks, {head}, % (gain)" for head in few)]
    return f"""RFS (Tian et al. 2020) and SKD (Rajasegaran et al. 2020) distil the network whose features few-shot learners stand on, on the
training classes (here with rotations as further classes); checkpoints are chosen by tasks of validation classes. 5-way 1-shot tasks
of the evaluation alphabets, gains in points over generation 0 of the same seed, **bold** where the interval over seeds excludes 0, on these tasks:

{markdown_table(heads, rows)}
{_of_tasks(entry)} No control was trained on labels for as long as these generations, so this does not tell soft labels from longer training;
where there was one (born again, above) it came close to the last generation.
"""


def fewshot(entry: Mapping[str, Any], results: Path) -> str:
    """A learner of many steps teaches one of one step."""
    runs = {"5 steps (teacher)": "slow", "1 step, alone": "alone", "1 step, taught": "taught"}
    test = {label: by_seed(entry["scores"], "accuracy", label=label) for label in runs}
    rows = []
    for label, found in test.items():
        own = lambda key, run=runs[label]: by_seed(entry["rows"], key, run=run)
        updates = ", ".join(f"{count:,}" for count in own("iterations").values())
        rows.append([label, percent(found), percent(own("validation")), mean_of(own("seconds"), 1, 60), updates])
    gaps = points(test["1 step, taught"], test["1 step, alone"])
    told = verdict(
        "The taught student, against the one alone",
        gaps,
        over_examples=over_tasks(one["ci95"] for one in entry["scores"]),
    )
    teacher, alone = (list(test[label].values()) for label in ("5 steps (teacher)", "1 step, alone"))
    if teacher and alone and sum(teacher) / len(teacher) <= sum(alone) / len(alone):
        told += (
            ". In so short a training the teacher's mean is not above that of the student alone, so it has little to teach: "
            "whether a better one helps is not answered here"
        )
    heads = ["learner", "test accuracy, %", "validation, %", "minutes a seed", "meta-updates, each seed"]
    return f"""The teacher adapts to each support set by 5 steps and answers the queries; the student adapts by 1 step, and its query loss is
half the labels' and half T² · KL to those answers (T = 4). Both students train for the same time on one core, so what the teacher's
answers cost is paid for in meta-updates. Omniglot 5-way 1-shot, evaluation alphabets, transductive:

{markdown_table(heads, rows)}
{_of_tasks(entry)}

{f"{told}." if told else ""}
"""


def few_shot(entry: Mapping[str, Any]) -> dict[str, dict[str, BySeed]]:
    """Head → network → accuracies on few-shot tasks by seed."""
    labels = [score["label"] for score in entry["scores"]]
    found: dict[str, dict[str, BySeed]] = {}
    for label in dict.fromkeys(labels):
        network, head = label.split(" + ")
        found.setdefault(head, {})[network] = by_seed(entry["scores"], "accuracy", label=label)
    return found
