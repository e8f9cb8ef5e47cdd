"""A few real kills and spoiled files; the benchmark makes many more of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.reliability.damage import flipped
from benchmarks.reliability.section import page, write_section

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("gcc") is None, reason="the shim that stops a process at a chosen call needs gcc")
def test_runs_survive_kills(tmp_path: Path) -> None:
    parts = [word for part in ("kills", "files") for word in ("--only", part)]
    call = [sys.executable, "-m", "benchmarks.faults", *parts, "--kills", "3", "--step", "50"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run(
        [*call, "--results", str(tmp_path)], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    sections = json.loads((tmp_path / "reliability.json").read_text())
    assert sections.keys() == {"kills", "files"}
    for section in sections.values():
        assert section["rows"][-1][1] == section["rows"][-1][2] != "0"
        assert section["details"]["failures"] == []


def test_readers_survive_spoiled_files(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "benchmarks.fuzz", "--inputs", "12", "--results", str(tmp_path)]
    ended = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = json.loads((tmp_path / "reliability.json").read_text())["fuzz"]["rows"]
    assert int(rows[-1][1]) == 12 * (len(rows) - 1) > 200
    assert int(rows[-1][2]) > 0 < int(rows[-1][3])


def test_a_section_replaces_its_own_alone(tmp_path: Path) -> None:
    for name, count in (("fuzz", 1), ("kills", 2), ("fuzz", 3)):
        write_section(tmp_path, name, f"Title {name}", "command", ("what", "count"), [("x", count)], "Note.")
    sections = json.loads((tmp_path / "reliability.json").read_text())
    assert {name: s["rows"] for name, s in sections.items()} == {"fuzz": [["x", "3"]], "kills": [["x", "2"]]}
    text = (tmp_path / "reliability.md").read_text()
    assert text == page(sections)
    assert text.index("Title kills") < text.index("Title fuzz")


def test_flipping_a_bit_changes_that_bit() -> None:
    assert flipped(b"\x00\x00", 9) == b"\x00\x02"
    assert flipped(flipped(b"ab", 3), 3) == b"ab"
