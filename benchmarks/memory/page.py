"""The memory row: peak memory of one exact meta-gradient against the number of inner steps."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from benchmarks.peers.pip import ROOT, last_line
from experiments.pages import render
from metaft.evaluation.plots import save
from metaft.evaluation.report import write_result
from metaft.evaluation.style import blank, series, tidy
from metaft.files import write_atomically

FLAT = ("metaft flat", "metaft checkpoints")
ENTRANTS = (*FLAT, "metaft graph", "learn2learn", "higher")
STEPS, QUICK_STEPS = (2, 4, 8, 16, 32, 64), (2, 4)
LONG, QUICK_LONG = 1000, 65
POOLS = {"max": "Conv4 max-pool", "stride": "Conv4 stride 2"}
TARGET = 1.2
# glibc gives blocks from this size on back to the system at once; left to itself it moves the border while it runs,
# and holes between blocks blur what is compared by a hundred MiB.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**18), "MALLOC_ARENA_MAX": "2"}
# Smaller than a convolution's weights: no holes are left between those that are kept, at the price of slowness.
WITHOUT_HOLES = "metaft flat, without holes"
VARIANTS = {WITHOUT_HOLES: ("metaft flat", {"MALLOC_MMAP_THRESHOLD_": str(2**16)})}
Probe = dict[str, Any]


def measure(python: Path, quick: bool, say: Callable[[str], None] = print) -> list[Probe]:
    """Measure everything, each in a fresh process.

    Args:
        python: the peers' interpreter.
        quick: for trying it out.
        say: told how far it is.

    Returns:
        One entry a measurement; ``error`` says why there is none.
    """
    steps, long = (QUICK_STEPS, QUICK_LONG) if quick else (STEPS, LONG)
    wanted = [(entrant, pool, k) for pool in POOLS for k in steps for entrant in ENTRANTS]
    wanted += [(entrant, pool, k) for pool in POOLS for entrant in VARIANTS for k in (steps[0], steps[-1])]
    wanted += [(entrant, pool, long) for pool in POOLS for entrant in FLAT]
    return [_probe(python, *one, say) for one in wanted]


def _probe(python: Path, entrant: str, pool: str, steps: int, say: Callable[[str], None]) -> Probe:
    name, own = VARIANTS.get(entrant, (entrant, {}))
    command = [str(python), "-m", "benchmarks.memory.probe", name, pool, str(steps)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **MALLOC, **own}, capture_output=True, text=True)
    found: Probe = {"entrant": entrant, "pool": pool, "steps": steps}
    if done.returncode:
        killed = done.returncode < 0
        found["error"] = "ended by the system: out of memory?" if killed else last_line(done.stderr, command)
    else:
        found = {**json.loads(done.stdout.splitlines()[-1]), "entrant": entrant}
    told = found.get("error") or f"{used(found):.0f} MiB above {found['baseline_mib']:.0f}, {found['seconds']:.1f} s"
    say(f"  {POOLS[pool]}, {steps} steps, {entrant}: {told}")
    return found


def used(probe: Probe) -> float:
    """What the meta-gradient itself needed at its peak, in MiB."""
    return float(probe["peak_mib"] - probe["baseline_mib"])


def write(probes: Sequence[Probe], results: Path, quick: bool, command: str) -> None:
    """Write ``memory.json``, ``memory.md`` and ``memory.png``.

    Args:
        probes: what was measured.
        results: the folder.
        quick: whether it was only a trial.
        command: to record.
    """
    named = {f"{p['pool']} · {p['entrant']} · {p['steps']}": p for p in probes}
    write_result(results / "memory.json", named, command, [0], {"quick": quick})
    save(figure(probes), results / "memory.png")
    write_atomically(results / "memory.md", page(probes, quick).encode())


def curves(probes: Sequence[Probe], pool: str) -> dict[str, dict[int, Probe]]:
    """Successful measurements of one network, by entrant and number of steps."""
    found: dict[str, dict[int, Probe]] = {}
    for probe in probes:
        if probe["pool"] == pool and "error" not in probe:
            found.setdefault(probe["entrant"], {})[probe["steps"]] = probe
    return found


def figure(probes: Sequence[Probe]) -> Figure:
    """The curves, a panel a network, both axes logarithmic."""
    fig = blank(9.0, 4.0)
    panels = fig.subplots(1, len(POOLS), sharey=True)
    for axes, (pool, title) in zip(panels, POOLS.items(), strict=True):
        drawn = {entrant: line for entrant, line in curves(probes, pool).items() if entrant not in VARIANTS}
        for number, (entrant, line) in enumerate(drawn.items()):
            axes.plot(list(line), [used(p) for p in line.values()], label=entrant, markersize=5, **series(number))
        first = axes is panels[0]
        tidy(axes, "inner steps K", "peak memory of one meta-gradient, MiB" if first else "", title)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
        axes.set_yscale("log")
        axes.legend(frameon=False, fontsize=9)
    return fig


def page(probes: Sequence[Probe], quick: bool = False) -> str:
    """The memory page in Markdown.

    Args:
        probes: what was measured.
        quick: whether it was only a trial.

    Returns:
        The page.
    """
    lines = {title: curves(probes, pool) for pool, title in POOLS.items()}
    tables = {title: (_rows(line), *_findings(line)) for title, line in lines.items()}
    failed = [(p["entrant"], POOLS[p["pool"]], p["steps"], p["error"]) for p in probes if "error" in p]
    text = render("benchmarks/memory/page.md.j2", quick=quick, tables=tables, failed=failed, target=TARGET, flat=FLAT)
    return text.rstrip() + "\n"


def _rows(lines: Mapping[str, Mapping[int, Probe]]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: MiB at each number of steps."""
    steps = sorted({k for line in lines.values() for k in line})
    rows = [[who, *(f"{used(line[k]):,.0f}" if k in line else "–" for k in steps)] for who, line in lines.items()]
    return ["MiB", *(f"K = {k}" for k in steps)], rows


def _findings(lines: Mapping[str, Mapping[int, Probe]]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """How each entrant grows between two numbers of steps, and what became of the longest inner loops."""
    growth, long = [], []
    for who, line in lines.items():
        low, high = min(line), max(k for k in line if k <= STEPS[-1])
        more = used(line[high]) - used(line[low])
        times = used(line[high]) / max(used(line[low]), 1e-9)
        growth.append((who, low, high, times, more / (high - low), line[high]["peak_mib"] / line[low]["peak_mib"]))
        last = line[max(line)]
        if who in FLAT and last["steps"] > STEPS[-1] and last["finite"]:
            long.append((who, last["steps"], last["seconds"], last["peak_mib"] / 1024))
    return growth, long
