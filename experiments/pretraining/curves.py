"""Perplexity over training, by corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

PREFIX = "perplexity_"


def draw(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Held-out perplexity against minibatches, a picture a model, a line a corpus.

    Args:
        rows: model → the rows of its log.

    Returns:
        The figure.
    """
    figure, axes = plt.subplots(1, len(rows), figsize=(4.6 * len(rows), 3.4), squeeze=False, layout="constrained")
    for axis, (name, log) in zip(axes[0], rows.items(), strict=True):
        found = [row for row in log if row.get("kind") == "validation"]
        parts = [key for key in (found[-1] if found else {}) if key.startswith(PREFIX)]
        for part in parts:
            axis.plot(
                [row["iteration"] for row in found], [row[part] for row in found], label=part.removeprefix(PREFIX)
            )
        axis.plot([row["iteration"] for row in found], [row["perplexity"] for row in found], "k", lw=2, label="all")
        axis.set(title=name, xlabel="minibatches", ylabel="perplexity on held-out text", yscale="log")
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize=8)
    return figure
