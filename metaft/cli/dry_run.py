"""What ``--dry-run`` prints."""

from __future__ import annotations

from typing import Any

from metaft.cli.screen import print_facts
from metaft.commands.opening import Opening
from metaft.training.dry_run import DryRun


def show_dry_run(found: DryRun, run: Opening[Any], title: str = "") -> None:
    """Print a table.

    Args:
        found: what the run would need.
        run: as it was asked for.
        title: of what this is, where there are several.
    """
    shapes = "\n".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in found.batch.items())
    adapting = "" if found.adapting is None else f"; {found.adapting:,} adapt"
    compiled = f", after {found.compiling:,.0f} s of compiling" if found.compiling else ""
    memory = "–" if found.memory is None or found.added is None else f"{_size(found.memory)}"
    speed = f"{found.speed:,.0f}" if found.speed >= 100 else f"{found.speed:.3g}"
    iterations = getattr(run.config, "iterations", None)
    length = f"{iterations:,} iterations" if iterations else "limited by minutes"
    facts = {
        "one batch": shapes,
        "parameters": f"{found.parameters:,}, of which {found.trained:,} are trained{adapting}",
        "peak memory": memory if found.added is None else f"{memory}, of which the updates added {_size(found.added)}",
        "speed": f"{speed} {found.counted}/s on {found.device}, {found.seconds:.3g} s an update{compiled}",
        "time to the end": f"{_clock(found.left)} ({length}), without validation and compiling",
        "checkpoint": f"{_size(found.checkpoint)}; the last two are kept",
        "run directory": f"{run.out}, taken: {run.taken}" if run.taken else f"{run.out}, free",
    }
    print_facts(({"of": title} if title else {}) | facts)


def _size(count: int) -> str:
    """Bytes in a unit that suits them."""
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.3g} {units[0]}" if size < 1000 else f"{size:,.0f} {units[0]}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
