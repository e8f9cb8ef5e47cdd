"""The page of the distillation experiments, from the numbers of results/distillation.json alone."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.distillation import sections
from experiments.distillation.numbers import mean_of
from experiments.pages import render
from metaft.evaluation.style import save
from metaft.files import write_atomically
from metaft.runs.reading import read_json

SPEED = "distillation_speed.json"
SECTIONS = {"mnist": sections.mnist, "noise": sections.noise, "born-again": sections.born_again,
            "representation": sections.representation, "fewshot": sections.fewshot}  # fmt: skip
PICTURED = ("mnist", "born-again")


def write_page(found: Mapping[str, Any], results: Path, pictures: Mapping[str, Path]) -> None:
    """Write ``distillation.md`` and its pictures.

    Args:
        found: what results/distillation.json holds.
        results: the folder.
        pictures: the soft labels of an experiment, as ``metaft distill`` drew them.
    """
    shown = {}
    for name in [name for name in SECTIONS if name in found["results"]]:
        entry = found["results"][name]
        shown[name] = {"measured": None, **entry, **SECTIONS[name](entry)}
        if (figure := shown[name].pop("figure", None)) is not None:
            save(figure, results / f"distillation-{name}.png")
        picture = results / f"distillation-soft-labels-{name}.png"
        if name in PICTURED and name in pictures:
            shutil.copyfile(pictures[name], picture)
        shown[name]["soft_labels"] = picture.name if picture.exists() else None
    text = render(
        "experiments/distillation/page.md.j2", command=found["command"], sections=shown,
        absent=[name for name in SECTIONS if name not in shown],
        speed=read_json(results / SPEED) if (results / SPEED).exists() else None, generations=sections.GENERATIONS,
        mean_of=mean_of, median=statistics.median,
    )  # fmt: skip
    write_atomically(results / "distillation.md", text.encode())
