"""The page of statistics: what every interval means, and how often equal methods are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.pages import render

SHOWN = (1, 2, 3, 5, 10)
"""Numbers of seeds in the table; the JSON has all."""


def page(found: Mapping[str, Any]) -> str:
    """The page, from the numbers of results/statistics.json alone.

    Args:
        found: what that holds.

    Returns:
        Markdown.
    """
    layouts, corners, whole = (found["results"][part]["layouts"] for part in ("drawn", "corners", "whole"))
    several = [one for one in layouts if one["seeds"] > 1]
    return render(
        "experiments/verdicts/page.md.j2", **{name: found[name] for name in ("pairs", "splits", "command")},
        shown=SHOWN, cells={(one["seeds"], one["tasks"], one["deviation"]): one for one in layouts},
        counts=sorted({one["tasks"] for one in layouts}), deviations=sorted({one["deviation"] for one in layouts}),
        several=several, worst=max(several, key=lambda one: one["ours"]["false"]),
        one_freedom=max(one["one freedom"]["false"] for one in (*layouts, *corners) if "one freedom" in one),
        corners=corners, whole=whole, pools=found["results"]["real"]["pools"],
    )  # fmt: skip
