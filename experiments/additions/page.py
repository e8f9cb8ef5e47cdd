"""results/additions.md and its pictures, from the tables that are there."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import torch

from experiments.additions.plan import BASELINE, PLAN, label_of, starts
from experiments.additions.plots import Point, against_parameters, against_steps, why_low_rank
from experiments.pages import render
from metaft.evaluation.style import save
from metaft.files import write_atomically
from metaft.runs.reading import read_json

Rows = dict[str, dict[int, dict[str, Any]]]
WITHIN = "CLINC150, one unseen domain, 5-way 1-shot"
KINDS = {"query": "self.query", "key": "self.key", "value": "self.value",
         "attention output": "attention.output.dense", "feed-forward up": "intermediate.dense"}  # fmt: skip
"""What a matrix of MiniLM does, and how its name ends."""
HEAD = 5 * 384 + 5
"""Numbers of a head of five classes over MiniLM's features."""


def compared(results: Path, part: str) -> Rows:
    """A comparison that was kept: label → shots → its row; empty where there is none."""
    file = results / f"additions-{part}.json"
    if not file.exists():
        return {}
    rows = read_json(file)["results"]
    return {label: {int(shots): cell for shots, cell in row["shots"].items()} for label, row in rows.items()}


def noted(results: Path, part: str) -> dict[str, Any]:
    """What the trainings of a part took, and its further differences."""
    file = results / f"additions-{part}-training.json"
    return dict(read_json(file)) if file.exists() else {"results": {}, "differences": {}}


def draw(results: Path) -> None:
    """Draw the pictures of what is there.

    Args:
        results: where tables are and pictures go.
    """
    shots, adapted, ranks = (compared(results, part) for part in ("shots", "adapted", "rank"))
    if shots:
        trained = noted(results, "shots")["results"]
        points = {
            count: {label: _point(row[count], trained[label]["parameters"]) for label, row in shots.items()
                    if label in trained}
            | {label: _point(row[count], row[count]["adapts"] - HEAD) for label, row in adapted.items()
               if label.rpartition(", ")[0] in PLAN["adapted"]}
            for count in PLAN["parts"]["shots"]["shots"]
        }  # fmt: skip
        levels = {count: shots[BASELINE][count]["score"]["mean"] for count in points}
        if all(len(of_shots) > 1 for of_shots in points.values()):
            save(against_parameters(points, levels, WITHIN), results / "additions-parameters.png")
    if curves := compared(results, "steps"):
        counts = sorted(curves[BASELINE])
        own = {count: {label: row[count]["steps"] for label, row in curves.items()} for count in counts}
        save(against_steps(own, WITHIN), results / "additions-steps.png")
    file = results / "additions-spectrum.json"
    if file.exists():
        found = read_json(file)["singular_values"]
        spectra = {kind: [torch.tensor(v, dtype=torch.float64) for v in layers] for kind, layers in found.items()}
        by_rank = {f"{count}-shot": by_ranks(ranks, count) for count in PLAN["parts"]["rank"]["shots"] if ranks}
        save(why_low_rank(spectra, by_rank, "ΔW of full fine-tuning"), results / "additions-low-rank.png")


def by_ranks(ranks: Rows, shots: int) -> dict[int, tuple[float, float]]:
    """Rank → accuracy of the LoRA of that rank, and half of its interval."""
    found = {}
    for addition, start in starts("rank"):
        if (row := ranks.get(label_of(addition, start))) is not None:
            rank = int(PLAN["additions"][addition].partition("rank=")[2].partition(",")[0])
            found[rank] = (row[shots]["score"]["mean"], row[shots]["score"]["ci95"])
    return found


def used(found: dict[str, Rows]) -> list[str]:
    """The ways of training a start that some comparison holds, in the plan's order."""
    parts = {part: [*rows] for part, rows in found.items() if part != "images"}
    seen = {
        start
        for part, labels in parts.items()
        for addition, start in starts("transfer" if part in PLAN["transfer"] else part)
        if any(f"{label}, ".startswith(f"{label_of(addition, start)}, ") for label in labels)
    }
    return [start for start in PLAN["starts"] if start in seen]


def missing(found: dict[str, Rows]) -> list[str]:
    """What of the plan no comparison holds."""
    gone = [part for part in (*PLAN["parts"], *PLAN["transfer"]) if part not in found]
    for part in PLAN["compared"]:
        for addition, start in starts(part) if part in found else []:
            label = label_of(addition, start)
            if not any(f"{one}, ".startswith(f"{label}, ") for one in found[part]):
                gone.append(f"{label} (in {part})")
    return gone


def searched(results: Path) -> dict[str, Any]:
    """The settings that were tried: label → what it took, and validation accuracy by iteration; empty if none were."""
    file = results / "additions-search.json"
    return dict(read_json(file)["results"]) if file.exists() else {}


def matrix_rows(spectrum: dict[str, Any]) -> list[list[float | str]]:
    """A row a kind of matrix, means over layers: name, shares at the plan's ranks, effective rank, ‖ΔW‖ / ‖W‖."""
    rows: list[list[float | str]] = []
    for kind, end in KINDS.items():
        own = [row for name, row in spectrum["results"].items() if name.endswith(f"{end}.weight")]
        held = [mean(row["energy"][str(rank)] for row in own) for rank in PLAN["spectrum"]["ranks"]]
        rows.append([kind, *held, mean(row["effective_rank"] for row in own), mean(row["relative"] for row in own)])
    return rows


def _point(row: dict[str, Any], parameters: int) -> Point:
    return Point(parameters, row["score"]["mean"], row["score"]["ci95"])


def write(results: Path, seeds: int) -> None:
    """Write the page of what is there.

    Args:
        results: where tables are and the page goes.
        seeds: of every start.
    """
    parts = [*PLAN["parts"], *PLAN["transfer"]]
    found = {part: rows for part in parts if (rows := compared(results, part))}
    file = results / "additions-spectrum.json"
    spectrum = read_json(file) if file.exists() else None
    page = render(
        "experiments/additions/page.md.j2",
        found=found,
        notes={part: noted(results, part) for part in found},
        plan=PLAN,
        seeds=seeds,
        base=BASELINE,
        spectrum=spectrum,
        matrices=matrix_rows(spectrum) if spectrum else [],
        search=searched(results),
        used=used(found),
        missing=missing(found),
        drawn={file.name for file in results.glob("additions-*.png")},
    )
    write_atomically(results / "additions.md", page.encode())
