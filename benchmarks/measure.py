"""One row measured in one process of the peers' environment: ``python -m benchmarks.measure ROW FILE [--quick]``.

``python -m benchmarks`` calls this; a process a row keeps the rows from warming or cluttering each other.
"""

from __future__ import annotations

import json
import os
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from benchmarks.arithmetic import machine_rate
from benchmarks.clock import alternate
from benchmarks.peers import PEERS
from benchmarks.rows import ROWS
from metaft.environment import environment

ROUNDS, TURN = 9, 0.5
QUICK_ROUNDS, QUICK_TURN = 3, 0.02


def measure(name: str, quick: bool) -> dict[str, Any]:
    """Check, then time, one row.

    Args:
        name: of the row.
        quick: for trying it out.

    Returns:
        All that was found, as JSON values; ``benchmarks.report`` makes the page from it.
    """
    row = ROWS[name]
    print(f"  {row.title}", flush=True)
    prepared = row.prepare(quick)
    rounds, turn = (QUICK_ROUNDS, QUICK_TURN) if quick else (ROUNDS, TURN)
    seconds, first = alternate(prepared.entrants, rounds, turn, lambda line: print(line, flush=True))
    rate = machine_rate(0.1 if quick else 1.0)
    return {
        "title": row.title,
        "unit": row.unit,
        "rivals": list(row.rivals),
        "target": row.target,
        "target_per_second": row.target_per_second,
        "seconds": seconds,
        "first_call_seconds": first,
        "agreement": prepared.agreement,
        "first_order_error": prepared.first_order_error,
        "missing": prepared.missing,
        "flop": prepared.flop,
        "limited_by": row.rate,
        "flop_per_second": {"convolution": rate.convolution, "product": rate.product},
        "quick": quick,
        "peers": versions(),
        "measured": environment(),
    }


def versions() -> dict[str, str]:
    """The installed versions of the peers."""
    found = {}
    for peer in PEERS:
        try:
            found[peer] = metadata.version(peer)
        except metadata.PackageNotFoundError:
            continue
    return found


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
