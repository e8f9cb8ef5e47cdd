"""The page of the distillation experiments, from the numbers of results/distillation.json alone."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import distillation_sections as sections
from experiments.family_facts import short_name
from metaft.evaluation.report import markdown_table
from metaft.files import write_atomically
from metaft.runs.reading import read_json

SPEED = "distillation_speed.json"
SECTIONS = {
    "mnist": sections.mnist,
    "noise": sections.noise,
    "born-again": sections.born_again,
    "representation": sections.representation,
    "fewshot": sections.fewshot,
}
PICTURED = ("mnist", "born-again")


def write_page(found: Mapping[str, Any], results: Path, pictures: Mapping[str, Path]) -> None:
    """Write ``distillation.md`` and its pictures.

    Args:
        found: what results/distillation.json holds.
        results: the folder.
        pictures: the soft labels of an experiment, as ``metaft distill`` drew them.
    """
    parts = [_intro(found)]
    for name, section in SECTIONS.items():
        if name in found["results"]:
            entry = found["results"][name]
            text = section(entry, results) + _soft_labels(name, results, pictures) + _made(entry)
            parts.append(f"## {entry['title']}\n\n{text}")
    if absent := [name for name in SECTIONS if name not in found["results"]]:
        words = " and ".join(f"`python -m experiments.distillation --only {name}`" for name in absent)
        parts.append(f"## Absent\n\nPlanned in `distillation.toml` and not made yet: {words}.\n")
    if (results / SPEED).exists():
        parts.append(_speed(read_json(results / SPEED)))
    write_atomically(results / "distillation.md", "\n".join(parts).encode())


def _intro(found: Mapping[str, Any]) -> str:
    return f"""# Generational distillation

A trained network's scores know that a cat is more dog than ice cream; its labels do not. Generation 0 learns from labels, each next
generation is a new network that learns from the one before it: T² · KL at temperature T, summed over classes and averaged over
examples, mixed with the labels' cross-entropy by a stated weight w: (1 − w) soft + w labels. What there is to choose (checkpoints, a
bias) is chosen on held-out training examples or validation classes; test data are scored once.

Means over seeds ± 95% intervals over seeds (Student's t). A gain is a difference within the same seed, so that seeds' own
differences drop out. These intervals range over seeds, on the one set of test examples or tasks: which of them were answered rightly
was not kept. With other examples as well, an interval is known only to be at most so wide: two networks cannot disagree on more
examples than both err on, nor can a difference spread more over tasks than both scores together ([how](statistics.md)). A
difference is *clear* where it excludes 0 with other examples too, *clear on these examples* where it does so for other seeds alone, and
else *within the seed spread*. Each is for one pair: of twenty differences that are none, one is expected to be called clear on these.

Command: `{found["command"]}`. Settings: `experiments/distillation.toml`. Numbers of every seed, versions, machine:
`distillation.json` (one core a run).
"""


def _soft_labels(name: str, results: Path, pictures: Mapping[str, Path]) -> str:
    picture = results / f"distillation-soft-labels-{name}.png"
    if name in PICTURED and name in pictures:
        shutil.copyfile(pictures[name], picture)
    if not picture.exists():
        return ""
    return f"\nThe validation examples whose soft labels say most about other classes:\n\n![soft labels](./{picture.name})\n"


def _made(entry: Mapping[str, Any]) -> str:
    lines = "\n".join(reversed(entry["commands"].values()))  # what others start from comes first
    seeds = ", ".join(map(str, entry["seeds"]))
    measured = entry.get("measured")
    where = f" of an {short_name(measured['machine']['cpu'])}" if measured else ""
    return f"\nMade by ({entry['minutes']:.0f} minutes of one core{where} for seeds {seeds}; each seed and level alike):\n\n```\n{lines}\n```\n"


def _speed(found: Mapping[str, Any]) -> str:
    epoch = found["results"]["epoch"]
    rows = []
    for name, seconds in epoch["seconds"].items():
        ratio = epoch["ratio"].get(name)
        beside = "1" if ratio is None else f"{ratio[0]:.3f} ({ratio[1]:.3f}–{ratio[2]:.3f})"
        rows.append([name, f"{statistics.median(seconds):.2f}", beside])
    return f"""## Speed

An epoch of the MNIST student ({epoch["images"]:,} images in minibatches of {epoch["batch_size"]}, one thread), turn by turn; the mark
is {epoch["target"]:g} × for cached answers. Filling the cache takes {epoch["cache_seconds"]:.1f} s, once for all runs.

{markdown_table(["student", "seconds an epoch", "× labels alone: median (range of ratios)"], rows)}
Command: `{found["command"]}`. Numbers: `{SPEED}`.
"""
