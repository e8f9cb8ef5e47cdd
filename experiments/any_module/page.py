"""The page of experiments.any_module: a row for each class and function, and what is refused."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.pages import render
from metaft.environment import environment
from tests.any_module.case import QUERY, RATE, STEPS, SUPPORT, TASKS
from tests.any_module.cases import CASES, NO_FUNCTION, NO_LAYER, REFUSED
from tests.any_module.comparisons import tolerance

COLUMNS: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("columns.toml").read_text(encoding="utf-8"))
Case = Mapping[str, Any]


def page(found: Mapping[str, Case], kinds: Mapping[str, Sequence[str]], command: str) -> str:
    """results/any_module.md.

    Args:
        found: by case, as ``experiments.any_module.cases.case`` gives it.
        kinds: the cases of each kind, by name.
        command: what made it.
    """
    where, classes = environment(), {CASES[name].of for name in found}
    counts = {start: sum(of.startswith(start) for of in classes) for start in ("F.", "torch.")}
    untried = NO_LAYER | {f"F.{name}": why for name, why in NO_FUNCTION.items()}
    return render(
        "experiments/any_module/page.md.j2", counts=counts | {"layers": len(classes) - sum(counts.values())},
        cases=len(found),
        wrong={name: faults(one) for name, one in found.items() if name not in REFUSED and faults(one)},
        refused=[[f"`{name}`", one["refused"]] for name, one in found.items() if name in REFUSED],
        loops=sum(bool(one["alone"]) for one in found.values()), columns=list(COLUMNS),
        tables={kind: rows([found[name] for name in names]) for kind, names in kinds.items()},
        untried=[[f"`{name}`", why] for name, why in untried.items()], command=command, where=where,
        torch=where["versions"]["torch"], tolerance=tolerance,
        **{"QUERY": QUERY, "RATE": RATE, "STEPS": STEPS, "SUPPORT": SUPPORT, "TASKS": TASKS},
    )  # fmt: skip


def rows(cases: Sequence[Case]) -> list[list[object]]:
    """The table of one kind: a row a class, of those of its cases that are not refused."""
    classes: dict[str, list[Case]] = {}
    for one in cases:
        if not one["refused"]:
            classes.setdefault(one["of"], []).append(one)
    return [[f"`{of}`", len(ones), *(cell(ones, ways) for ways in COLUMNS.values()), looped(ones)]
            for of, ones in classes.items()]  # fmt: skip


def cell(ones: Sequence[Case], ways: Sequence[str]) -> str:
    """The worst error of some comparisons."""
    if any(way in one["raised"] for one in ones for way in ways):  # what is refused is not among them
        return "**fails**"
    errors = [(one["errors"][way], tolerance(way)) for one in ones for way in ways if way in one["errors"]]
    if not errors:
        return "–"
    worst = max(error for error, _ in errors)
    text = "0" if worst == 0 else f"{worst:.0e}"
    return text if all(error <= limit for error, limit in errors) else f"**{text}**"


def looped(ones: Sequence[Case]) -> str:
    """Whether tasks were computed one by one."""
    alone = [bool(one["alone"]) for one in ones]
    return "yes" if all(alone) else "some" if any(alone) else ""


def faults(one: Case) -> list[str]:
    """What is wrong with a case, a line each."""
    said = {w: f"{e:.1e}" for w, e in one["errors"].items() if e > tolerance(w)} | one["raised"]
    return [f"{', '.join(w for w in said if said[w] == what)}: {what}" for what in dict.fromkeys(said.values())]
