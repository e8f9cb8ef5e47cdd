"""The speed page, made from what was measured and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.peers.environment import PEERS
from benchmarks.speed.clock import Spread, ratio
from experiments.pages import render

US = "metaft"
HEADS = ["work", "metaft", "fastest peer", "ratio (range)", "target", "reached", "limit of the arithmetic"]


def page(rows: Mapping[str, Mapping[str, Any]], missing: Mapping[str, str]) -> str:
    """Write the page.

    Args:
        rows: by name, as ``benchmarks.speed.measure.measure`` gives.
        missing: peers that could not be installed, and why.

    Returns:
        Markdown.
    """
    some = next(iter(rows.values()))
    text = render(
        "benchmarks/speed/page.md.j2", quick=any(row["quick"] for row in rows.values()), **some["measured"],
        peers=peer_versions(rows), heads=HEADS, summaries=[summary(row) for row in rows.values()], missing=missing,
        rows=rows, spread_of=Spread.of,
    )  # fmt: skip
    return text.rstrip() + "\n"


def peer_versions(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The peers of all rows: a row that was measured earlier knows nothing of those that were added since.

    Args:
        rows: by name, as ``benchmarks.speed.measure.measure`` gives.

    Returns:
        The version by peer, in the order of ``PEERS``; all of them where rows were measured with different ones.
    """
    found: dict[str, dict[str, None]] = {peer: {} for peer in PEERS}  # dicts as sets in the order of the page
    for row in rows.values():
        for peer, version in row["peers"].items():
            found.setdefault(peer, {})[version] = None
    return {peer: " and ".join(versions) for peer, versions in found.items() if versions}


def summary(row: Mapping[str, Any]) -> list[str]:
    """The row's cells in the table."""
    ours = Spread.of(row["seconds"][US])
    found = fastest(row)
    gain = None if found is None else ratio(row["seconds"][found], row["seconds"][US])
    peer_cell = "none" if found is None else f"{found}: {_time(Spread.of(row['seconds'][found]).median, row)}"
    ratio_cell = "–" if gain is None else f"{gain.median:.2f}× ({gain.low:.2f}–{gain.high:.2f})"
    limit = distance_to_limit(row)
    limit_cell = "–" if limit is None else f"{limit:.1f}× the limit"
    return [row["title"], _time(ours.median, row), peer_cell, ratio_cell, *_target(row, ours, gain), limit_cell]


def fastest(row: Mapping[str, Any]) -> str | None:
    """The rival with the lowest median, None if all are missing."""
    there = {name: Spread.of(row["seconds"][name]).median for name in row["rivals"] if name in row["seconds"]}
    return min(there, key=lambda name: there[name]) if there else None


def distance_to_limit(row: Mapping[str, Any]) -> float | None:
    """How many times as long metaft takes as the arithmetic alone would at the machine's measured rate."""
    if row["flop"] is None:
        return None
    return Spread.of(row["seconds"][US]).median / (row["flop"] / row["flop_per_second"][row["limited_by"]])


def _target(row: Mapping[str, Any], ours: Spread, gain: Spread | None) -> tuple[str, str]:
    """What was to be reached, and whether it was."""
    if row["target_per_second"] is not None:
        reached = 1 / ours.median >= row["target_per_second"]
        return f"≥ {row['target_per_second']:,.0f} {row['unit']}s/s", "yes" if reached else "no"
    if row["target"] is None:
        return "–", "–"
    return f"≥ {row['target']:g}×", "–" if gain is None else "yes" if gain.median >= row["target"] else "no"


def _time(seconds: float, row: Mapping[str, Any]) -> str:
    """A time in milliseconds, or a speed where that is what the row is about."""
    if row["target_per_second"] is not None:
        return f"{1 / seconds:,.0f} {row['unit']}s/s"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds * 1e3:.0f} ms"
