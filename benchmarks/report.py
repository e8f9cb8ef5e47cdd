"""The speed page in Markdown, made from what was measured and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.clock import Spread, ratio
from metaft.evaluation.report import markdown_table

US = "metaft"
HEADS = ["work", "metaft", "fastest peer", "ratio (range)", "target", "reached", "limit of the arithmetic"]

LIMIT = """\
**Limit of the arithmetic.** Multiplications and additions of convolutions, linear layers and attention, counted from
the layers' shapes: 3 times a forward pass for a gradient, 6 more for its reverse (the Hessian-vector product, which a
first-order gradient leaves out), less in the layer that sees the data itself; nothing recomputed, batch norm and other
elementwise work not counted. The machine's rate is the best forward convolution (or matrix product) measured in the
same run, on all cores. Nobody can be quicker than 1.0× that limit without other arithmetic, and small batches cannot
come near it.
"""


def page(rows: Mapping[str, Mapping[str, Any]], missing: Mapping[str, str]) -> str:
    """Write the page.

    Args:
        rows: by name, as ``benchmarks.measure.measure`` gives.
        missing: peers that could not be installed, and why.

    Returns:
        Markdown.
    """
    some = next(iter(rows.values()))
    machine, installed = some["measured"]["machine"], some["measured"]["versions"]
    peers = ", ".join(f"{name} {version}" for name, version in some["peers"].items())
    parts = [
        "# Speed beside the peers\n",
        "Made by `python -m benchmarks`. Each row is one run: metaft and its peers take turns "
        "(A B C A B C …), so that a machine that changes its pace is fair to all. Each lives in a process of its own, "
        "as its users run it, unless the row says otherwise. Times are medians over the turns; "
        "a ratio is taken within each turn, and its range over the turns stands in brackets. A ratio of 3 means that "
        "the fastest peer, the one with the lowest median, takes three times as long as metaft.\n",
        f"{machine['cpu']}, {machine['cores']} cores; torch {installed['torch']} for all, Python "
        f"{installed['python']}; {peers}. Peers run as their own examples do, with torch's default number of threads. "
        "metaft runs as `metaft meta-train` sets it up.\n",
        markdown_table(HEADS, [summary(row) for row in rows.values()]),
    ]
    if any(row["quick"] for row in rows.values()):
        parts.insert(1, "**A quick trial: these numbers are no results.**\n")
    parts += [f"- {name} could not be installed: {why}" for name, why in missing.items()]
    parts += ["", LIMIT]
    parts += [_details(name, row) for name, row in rows.items()]
    return "\n".join(parts).rstrip() + "\n"


def summary(row: Mapping[str, Any]) -> list[str]:
    """The row's cells in the table."""
    ours = Spread.of(row["seconds"][US])
    found = fastest(row)
    peer, gain = ("none", None) if found is None else (found, ratio(row["seconds"][found], row["seconds"][US]))
    peer_cell = peer if found is None else f"{peer}: {_time(Spread.of(row['seconds'][found]).median, row)}"
    ratio_cell = "–" if gain is None else f"{gain.median:.2f}× ({gain.low:.2f}–{gain.high:.2f})"
    limit = distance_to_limit(row)
    return [
        row["title"],
        _time(ours.median, row),
        peer_cell,
        ratio_cell,
        _target(row),
        _reached(row, ours, gain),
        "–" if limit is None else f"{limit:.1f}× the limit",
    ]


def fastest(row: Mapping[str, Any]) -> str | None:
    """The rival with the lowest median, None if all are missing."""
    there = {name: Spread.of(row["seconds"][name]).median for name in row["rivals"] if name in row["seconds"]}
    return min(there, key=lambda name: there[name]) if there else None


def distance_to_limit(row: Mapping[str, Any]) -> float | None:
    """How many times as long metaft takes as the arithmetic alone would at the machine's measured rate."""
    if row["flop"] is None:
        return None
    return Spread.of(row["seconds"][US]).median / (row["flop"] / row["flop_per_second"][row["limited_by"]])


def _target(row: Mapping[str, Any]) -> str:
    if row["target_per_second"] is not None:
        return f"≥ {row['target_per_second']:,.0f} {row['unit']}s/s"
    return "–" if row["target"] is None else f"≥ {row['target']:g}×"


def _reached(row: Mapping[str, Any], ours: Spread, gain: Spread | None) -> str:
    if row["target_per_second"] is not None:
        return "yes" if 1 / ours.median >= row["target_per_second"] else "no"
    if row["target"] is None or gain is None:
        return "–"
    return "yes" if gain.median >= row["target"] else "no"


def _time(seconds: float, row: Mapping[str, Any]) -> str:
    """A time in milliseconds, or a speed where that is what the row is about."""
    if row["target_per_second"] is not None:
        return f"{1 / seconds:,.0f} {row['unit']}s/s"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds * 1e3:.0f} ms"


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _details(name: str, row: Mapping[str, Any]) -> str:
    heads = ["entrant", "median", "range over turns", f"{row['unit']}s/s", "first call: extra seconds"]
    heads += ["meta-gradient against the plain loop (float64)"] if row["agreement"] else []
    cells = []
    for entrant, seconds in row["seconds"].items():
        s = Spread.of(seconds)
        cell = [entrant, f"{s.median * 1e3:.4g} ms", f"{s.low * 1e3:.4g}–{s.high * 1e3:.4g} ms", _count(1 / s.median)]
        cell.append(f"{row['first_call_seconds'][entrant]:.1f}")
        if row["agreement"]:
            cell.append(f"{row['agreement'][entrant]:.0e}" if entrant in row["agreement"] else "–")
        cells.append(cell)
    notes = [f"- {peer} is not in this row: {why}" for peer, why in row["missing"].items()]
    if not row.get("apart"):
        notes.append("- All entrants shared one process, and so metaft's settings of the C library's memory.")
    if row["first_order_error"] is not None:
        other = "an exact" if row.get("first_order") else "a first-order"
        notes.append(
            f"- Relative error of the gradient, the worst parameter's; {other} gradient would be off by "
            f"{row['first_order_error']:.2g} here. Parameters whose true gradient is 0 are left out."
        )
    if row["flop"] is not None:
        rate = row["flop_per_second"][row["limited_by"]]
        notes.append(
            f"- Arithmetic: {row['flop'] / 1e9:.3g} GFLOP; the machine's best {row['limited_by']} rate is "
            f"{rate / 1e9:.0f} GFLOP/s; limit {row['flop'] / rate * 1e3:.3g} ms."
        )
    title = f"## {name}: {row['title']}\n\nMeasured {row['measured']['date']}, commit {row['measured']['commit']}.\n\n"
    return title + markdown_table(heads, cells) + "\n" + "\n".join(notes) + "\n"
