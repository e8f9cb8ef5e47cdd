"""``metaft show`` of a comparison: settings, scores, and the prompts that were sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from metaft.cli import cli


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, list(words))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shown") / "out"
    done = run(
        "compare", "in-context:backbone=stories260k,shots=1,label=few", "in-context:backbone=stories260k,shots=0",
        "--dataset", "intents", "--ways", "2", "--queries", "1", "--tasks", "2", "--seeds", "2", "--out", str(out),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return out


def test_prompts_stand_line_by_line(folder: Path) -> None:
    cells = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    done = run("show", str(folder))
    assert done.exit_code == 0, done.output
    prompts = {(cell["label"], cell["seed"]): cell["result"]["learner"]["prompt"] for cell in cells}
    assert len(prompts) == 4
    assert any(prompt.count("\n") > 3 for prompt in prompts.values())
    for (label, seed), prompt in prompts.items():
        indented = "\n".join(f"    {line}" for line in prompt.split("\n"))
        assert f"  {label}, 1-shot, seed {seed}\n{indented}\n" in done.stdout
    for said in ("baseline  ", "metaft ", "dataset ", "calibration ", " % on 2 "):
        assert said in done.stdout
    found = json.loads(run("show", str(folder), "--json").stdout)
    assert list(found["prompts, the first that each learner sent"].values()) == list(prompts.values())
    assert "prompt" not in found["learner few"]
    assert found["learner few"]["shots"] == 1


def test_what_is_unfinished_or_foreign_is_said(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "results.jsonl").read_text().splitlines()
    cell = json.loads(lines[0])
    cell["result"]["learner"]["prompt"] = "red \x1b[31m text"
    (tmp_path / "results.jsonl").write_text(json.dumps(cell) + '\n{"label": "x", "result": 3}\n{"cut sho')
    done = run("show", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "unfinished: go on with metaft compare --resume" in done.stdout
    assert "\x1b" not in done.stdout
    assert r"red \x1b[31m text" in done.stdout
    assert "damaged" in done.stdout
    nothing = run("show", str(tmp_path / "absent"))
    assert (nothing.exit_code, nothing.stderr.count("\n")) == (2, 1)
    assert "no run in" in nothing.stderr
