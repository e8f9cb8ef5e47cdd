"""``metaft variance``: what it writes, going on cell by cell, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from metaft.cli import cli
from metaft.prompting import grid

PATTERNS = """
[[pattern]]
name = "one"
text = "{text} It was {answer}"

[[pattern]]
name = "two"
text = "Text: {text}\\nLabel: {answer}"
words = { cats = "soft", dogs = "loud" }
"""
TEXTS = [(f"the {a} {b}", kind) for kind, a in (("cats", "cat"), ("dogs", "dog")) for b in "abcdefghijklmnop"]
QUICK = ["--sets", "2", "--orders", "2", "--shots", "1", "--queries", "6"]


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, ["variance", *words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("variance")
    (made / "patterns.toml").write_text(PATTERNS)
    rows = ["text\tlabel\tsplit", *(f"{text}\t{kind}\ttest" for text, kind in TEXTS)]
    rows += [f"{text} {split}\t{kind}\t{split}" for text, kind in TEXTS for split in ("train", "val")]
    (made / "texts.tsv").write_text("\n".join(rows) + "\n")
    return made


def asked(folder: Path, *more: str) -> list[str]:
    own = ["stories260k", "--dataset", "texts", "--scheme", "examples", "--split-column", "split", "--data-root"]
    return [*own, str(folder / "texts.tsv"), "--patterns", str(folder / "patterns.toml"), *QUICK, *more]


def test_tables_page_picture_and_going_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, answered = folder / "out", []
    plain = grid.answered
    monkeypatch.setattr("metaft.commands.variance.answered", lambda *rest: (answered.append(1), plain(*rest))[1])
    both = ("--calibration", "contextual", "--calibration", "domain")
    done = run(*asked(folder, "--out", str(out), *both))
    assert done.exit_code == 0, done.output
    assert len(answered) == 2 * 2 * 2
    for said in ("pattern", "examples", "order", "rest", "contextual", "written", "in-context:backbone=stories260k"):
        assert said in done.stdout
    held = json.loads((out / "variance.json").read_text())
    cells = [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]
    assert [(cell["pattern"], cell["set"], cell["order"]) for cell in cells] == [
        (name, number, order) for name in ("one", "two") for number in range(2) for order in range(2)
    ]
    truth = np.array([0, 0, 0, 1, 1, 1])
    for name in ("none", "contextual", "domain"):
        right = [100 * float((np.array(cell["answers"][name]) == truth).mean()) for cell in cells]
        found = held["results"][name]
        assert np.array(list(found["accuracy"].values())).ravel() == pytest.approx(right)
        assert found["mean"] == pytest.approx(np.mean(right))
    assert held["seeds"] == [1000]
    assert {"metaft", "torch"} <= set(held["versions"])
    assert held["patterns"]["two"]["words"] == [["soft"], ["loud"]]
    assert Image.open(out / "variance.png").width > 500
    assert "Seed 1000; metaft" in (out / "variance.md").read_text()

    taken = run(*asked(folder, "--out", str(out)))
    assert (taken.exit_code, taken.stderr.count("\n")) == (2, 1)
    assert "already holds a table of variance; give --resume to go on with it" in taken.stderr
    answered.clear()
    lines = (out / "cells.jsonl").read_text().splitlines()
    (out / "cells.jsonl").write_text("\n".join(lines[:5]) + "\n{half a line")
    again = run(*asked(folder, "--out", str(out), "--resume", *both))
    assert (again.exit_code, len(answered)) == (0, 3), again.output
    assert json.loads((out / "variance.json").read_text())["results"] == held["results"]
    answered.clear()
    more = run(*asked(folder, "--out", str(out), "--resume", "--sets", "3"))  # of fewer calibrations
    assert (more.exit_code, len(answered)) == (0, 4), more.output
    answered.clear()
    other = run(*asked(folder, "--out", str(out), "--resume", "--calibration", "batch"))
    assert (other.exit_code, len(answered)) == (0, 8), other.output
    answered.clear()
    fresh = run(*asked(folder, "--out", str(out), "--overwrite", "--calibration", "none", "--sets", "1"))
    assert (fresh.exit_code, len(answered)) == (0, 4), fresh.output
    assert list(json.loads((out / "variance.json").read_text())["results"]) == ["none"]
    assert len((out / "cells.jsonl").read_text().splitlines()) == 4


def test_direction_and_score_are_the_learners(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, asked_how = grid.answered, []
    monkeypatch.setattr(
        "metaft.commands.variance.answered",
        lambda prompter, *rest: (asked_how.append(prompter), plain(prompter, *rest))[1],
    )
    (folder / "both.toml").write_text(PATTERNS + 'channel = "{answer}: {text}"\n')
    words = asked(folder, "--out", str(folder / "channel"), "--calibration", "none", "--sets", "1")
    done = run(*words, "--patterns", str(folder / "both.toml"), "--direction", "channel", "--score", "mean")
    assert done.exit_code == 0, done.output
    assert "in-context:backbone=stories260k,direction=channel,score=mean" in done.stdout
    assert {(one.direction, one.score, one.pattern.name) for one in asked_how} == {("channel", "mean", "two")}
    held = json.loads((folder / "channel" / "variance.json").read_text())
    assert (held["direction"], held["score"]) == ("channel", "mean")
    assert held["patterns"] == {"two": {"text": "{answer}: {text}", "words": [["soft"], ["loud"]]}}
    asked_how.clear()
    again = run(*words, "--patterns", str(folder / "both.toml"), "--direction", "channel", "--resume")
    assert (again.exit_code, len(asked_how)) == (0, 2), again.output  # another score is another cell
    assert [one.score for one in asked_how] == ["sum", "sum"]


def test_what_was_stopped_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, turns = grid.answered, iter(range(3))

    def stopping(*rest: Any) -> Any:
        if next(turns, None) is None:
            raise KeyboardInterrupt
        return plain(*rest)

    monkeypatch.setattr("metaft.commands.variance.answered", stopping)
    done = run(*asked(folder, "--out", str(folder / "stopped")))
    assert done.exit_code == 130, done.output
    assert "stopped; 3 of 8 cells are kept" in done.stderr
    assert "--resume" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--patterns", "revew"], "unknown pattern 'revew'"),
        (["--patterns", "absent.toml"], "cannot read patterns absent.toml"),
        (["--calibration", "contxtual"], "unknown calibration 'contxtual'; did you mean 'contextual'"),
        (["--calibration", "batch", "--calibration", "batch"], "calibration 'batch' is asked for twice"),
        (["--orders", "3"], "3 orders asked for, and 2 demonstrations have 2"),
        (["--queries", "60"], "need 32 different texts of each class, and 'cats' has 16"),
        (["--seed", "-1"], "seed = -1"),
        (["--split", "tests"], "'tests'"),
        (["--direction", "chanel"], "'chanel'"),
        (["--direction", "channel"], "pattern 'one' has no form for the channel; take direction=direct"),
        (["--resume"], "no table of variance in"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, folder: Path) -> None:
    done = run(*asked(folder, "--out", str(folder / "none"), *words))
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.output
    assert said in done.stderr
    assert not (folder / "none").exists()


@pytest.mark.parametrize(
    ("model", "dataset", "said"),
    [
        ("stories260k", "glyphs", "prompts are made of texts, and glyphs has none"),
        ("absent", "sst2", "unknown model 'absent'"),
    ],
)
def test_other_data_and_models_are_refused(model: str, dataset: str, said: str, tmp_path: Path) -> None:
    done = run(model, "--dataset", dataset, "--out", str(tmp_path / "none"))
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.output
    assert said in done.stderr


def test_patterns_are_named_once(folder: Path) -> None:
    file = f"{folder / 'patterns.toml'}#two,two"
    done = run(*asked(folder, "--out", str(folder / "none"), "--patterns", file))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "pattern 'two' is asked for twice" in done.stderr
