"""What happens when a rank fails: ``python -m benchmarks.ranks --results results`` runs the tests that make it so."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import click

from benchmarks.peers.pip import ROOT
from benchmarks.reliability.section import keep, results_option

TESTS = "tests/runs/test_distributed.py"


@click.command()
@results_option
def main(results: Path | None) -> None:
    """Kill, hang and fail ranks of torchrun, and count what was survived."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run([sys.executable, "-m", "pytest", TESTS, f"--junitxml={report}"], cwd=ROOT, check=False)
        # Written by pytest a moment ago, not by a stranger.
        cases = list(ElementTree.parse(report).iter("testcase"))
    rows = []
    for case in cases:
        ended = {child.tag for child in case}
        outcome = "failed" if ended & {"failure", "error"} else "not possible here" if "skipped" in ended else "held"
        what = str(case.get("name")).removeprefix("test_").replace("_", " ")
        rows.append((what, outcome, f"{float(case.get('time', 0)):.0f} s"))
    for row in rows:
        click.echo("  ".join(row))
    keep(results, "ranks", "python -m benchmarks.ranks", rows)


if __name__ == "__main__":
    main()
