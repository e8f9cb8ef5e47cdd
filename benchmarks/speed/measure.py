"""One row measured in one process of the peers' environment: ``python -m benchmarks.speed.measure ROW FILE [--quick]``.

``python -m benchmarks`` calls this. Every entrant lives in a process of its own, as its users run it; they take turns.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from benchmarks.peers.entrants import OURS
from benchmarks.peers.environment import PEERS
from benchmarks.speed.arithmetic import machine_rate
from benchmarks.speed.clock import alternate
from benchmarks.speed.own_process import Apart
from benchmarks.speed.row import US, attempt
from benchmarks.speed.rows import ROWS
from metaft.environment import environment
from metaft.errors import MetaftError

ROUNDS, TURN = 9, 0.5
QUICK_ROUNDS, QUICK_TURN = 3, 0.02


def measure(name: str, quick: bool) -> dict[str, Any]:
    """Check, then time, one row.

    Args:
        name: of the row.
        quick: for trying it out.

    Returns:
        All that was found, as JSON values; ``benchmarks.speed.report`` makes the page from it.
    """
    row = ROWS[name]
    print(f"  {row.title}", flush=True)
    apart, missing = gather(name, quick)
    rounds, turn = (QUICK_ROUNDS, QUICK_TURN) if quick else (ROUNDS, TURN)
    timed = {who: one for who, one in apart.items() if who not in missing}

    def failed(who: str, error: Exception) -> None:
        if who in OURS:
            raise error
        missing[who] = str(error)
        print(f"    {who} is left out: {error}", flush=True)

    try:
        seconds, first = alternate(timed, rounds, turn, lambda line: print(line, flush=True), failed)
    finally:
        for one in apart.values():
            one.close()
    found = {who: one.prepared for who, one in apart.items()}
    return {
        **{
            name: getattr(row, name)
            for name in ("title", "unit", "rivals", "target", "target_per_second", "first_order")
        },
        **{name: getattr(found[US], name) for name in ("first_order_error", "flop")},
        "seconds": seconds,
        "first_call_seconds": first,
        "apart": True,
        "agreement": {who: found[who].agreement for who in seconds if found[who].agreement is not None},
        "missing": missing,
        "limited_by": row.rate,
        "flop_per_second": asdict(machine_rate(0.1 if quick else 1.0)),
        "quick": quick,
        "peers": versions(),
        "measured": environment(),
    }


def gather(name: str, quick: bool) -> tuple[dict[str, Apart], dict[str, str]]:
    """Set every entrant up in a process of its own, and let it be checked.

    Args:
        name: of the row.
        quick: for trying it out.

    Returns:
        The entrants, and why some of them cannot be timed or did not even start.

    Raises:
        MetaftError: if metaft is one of those: nothing is timed then.
    """
    apart: dict[str, Apart] = {}
    missing: dict[str, str] = {}
    for who in ROWS[name].names:
        made = attempt(partial(Apart, name, who, quick))
        if not isinstance(made, str):
            apart[who] = made
        why = made if isinstance(made, str) else made.prepared.missing
        if why is None:
            if (error := apart[who].prepared.agreement) is not None:
                print(f"    {who}: its {ROWS[name].unit} agrees to {error:.1e} (float64)", flush=True)
            continue
        if who in OURS:
            raise MetaftError(why if why.startswith(who) else f"{who}: {why}")
        missing[who] = why
        print(f"    {who} is left out: {why}", flush=True)
    return apart, missing


def versions() -> dict[str, str]:
    """The installed versions of the peers."""
    installed = {found.name.lower(): found.version for found in metadata.distributions()}
    return {peer: installed[peer] for peer in PEERS if peer in installed}


@click.command()
@click.argument("row", type=click.Choice(list(ROWS)))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--quick", is_flag=True)
def main(row: str, file: Path, quick: bool) -> None:
    """Measure one row and write what was found as JSON."""
    with tempfile.TemporaryDirectory(prefix="metaft-benchmark-", ignore_cleanup_errors=True) as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # so that compile seconds are those of a first run
        found = measure(row, quick)
    file.write_text(json.dumps(found, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    main()
