"""``metaft analogies`` on a run of a language model, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from metaft.cli import cli
from metaft.evaluation.analogies import METHODS

PAIRS = [
    ("boy", "girl"), ("king", "queen"), ("man", "woman"), ("son", "daughter"),
    ("cat", "cats"), ("dog", "dogs"), ("cow", "cows"), ("hen", "hens"),
]  # fmt: skip
WORDS = [word for pair in PAIRS for word in pair]


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, list(words))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of a few words, and questions."""
    made = tmp_path_factory.mktemp("analogies")
    (made / "text.txt").write_text("\n".join([" ".join(WORDS)] * 60))
    small = ["--tokenizer", "wordpiece:size=200", "--length", "12", "--batch-size", "2", "--iterations", "2", "--quiet"]
    small += ["--validate-tasks", "2", "--model", "transformer:layers=1,width=8,heads=2", "--objective", "masked"]
    done = run("pretrain", "--dataset", str(made / "text.txt"), *small, "--out", str(made / "run"))
    assert done.exit_code == 0, done.output
    lines = []
    for name, some in (("family", PAIRS[:4]), ("gram8-plural", PAIRS[4:])):
        lines.append(f": {name}")
        lines += [" ".join([p.capitalize(), *rest]) for p, *rest in (a + b for a in some for b in some if a != b)]
    lines.append("boy girl lion lioness")
    (made / "questions.txt").write_text("\n".join(lines))
    return made


def test_table_page_and_picture(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    words = ["analogies", "run", "--questions", "questions.txt", "--out", "out"]
    done = run(*words)
    assert done.exit_code == 0, done.output
    for said in ("gram8-plural", "semantic", "syntactic", "all", "written", "compare class-means:backbone=run"):
        assert said in done.stdout
    held = json.loads((folder / "out/analogies.json").read_text())
    found = held["results"]["run"]
    assert held["seeds"] == [0]
    assert {"metaft", "torch"} <= set(held["versions"])
    assert held["asked"]["file"] == "questions.txt"
    sections = found["sections"]
    assert list(sections) == ["family", "gram8-plural", "semantic", "syntactic", "all"]
    counts = [(entry["questions"], entry["covered"]) for entry in sections.values()]
    assert counts == [(12, 12), (13, 12), (12, 12), (13, 12), (25, 24)]
    for method in METHODS:
        right = [sections[name]["shares"][method]["right"] for name in ("family", "gram8-plural", "all")]
        assert right[0] + right[1] == right[2]
    assert sections["all"]["guess"] == pytest.approx(1 / (found["words"] - 3))
    assert sections["family"]["guess_of_kind"] == pytest.approx(1 / 3)  # of four answers b is one
    page = (folder / "out/analogies.md").read_text()
    assert re.search(r"\| \*\*all\*\* \| \*\*25\*\* \| \*\*96\.0\*\* \|", page)
    assert "Seed 0; metaft" in page
    assert Image.open(folder / "out" / held["pictures"]["run"]).width > 500
    taken = run(*words)
    assert (taken.exit_code, taken.stderr.count("\n")) == (2, 1)
    assert "already holds a table of analogies; give --overwrite to replace it, or another --out" in taken.stderr
    (folder / "out/analogies-mine.png").write_text("mine")
    other = ["analogies", str(folder / "run"), *words[2:], "--overwrite", "--draw", "family"]
    assert run(*other).exit_code == 0
    assert (folder / "out/analogies-mine.png").read_text() == "mine"
    (drawn,) = json.loads((folder / "out/analogies.json").read_text())["pictures"].values()
    names = {"analogies.json", "analogies.md", "analogies-mine.png", drawn}
    assert {file.name for file in (folder / "out").iterdir()} == names


def test_several_sources_on_the_questions_that_all_cover(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    done = run("analogies", "run", "./run", "--questions", "questions.txt", "--out", "two")
    assert done.exit_code == 0, done.output
    assert "On the questions that every source covers" in done.stdout
    assert "run, semantic" in done.stdout
    held = json.loads((folder / "two/analogies.json").read_text())
    assert held["pictures"] == {"run": "analogies-run.png", "./run": "analogies-run-2.png"}
    assert held["results"]["run"]["on_shared_questions"]["all"]["covered"] == 24
    alone = run("analogies", "run", "--questions", "questions.txt")
    assert "--out analogies/first" in alone.stdout
    assert not (folder / "analogies").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runn"], "unknown source of word vectors 'runn'"),
        (["run", "run"], "source 'run' is asked for twice"),
        (["run", "--questions", "absent.txt"], "cannot read absent.txt"),
        (["run", "--questions", "other.txt"], "run knows all four words of none of the 1 questions in other.txt"),
        (["run", "--questions", "questions.txt", "--draw", "famly"], "unknown section 'famly'; did you mean 'family'"),
        (["run", "--seed", "-1"], "seed = -1"),
        (["text.txt", "--questions", "questions.txt"], "unknown source of word vectors 'text.txt'"),
        ([".", "--questions", "questions.txt"], "no run"),
        (["run", "--questions", "questions.txt", "--out", "text.txt"], "is a file, a folder is needed"),
        (["run", "--questions", "questions.txt", "--out", "theirs"], "not one that metaft wrote"),
        (["run", "--questions", "questions.txt", "--out", "drawn"], "holds no table of analogies"),
    ],
)
def test_what_is_refused_is_one_line(
    words: list[str], said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "other.txt").write_text("lion lioness tiger tigress")
    (folder / "theirs").mkdir(exist_ok=True)
    (folder / "theirs/analogies.json").write_text("{}")
    (folder / "drawn").mkdir(exist_ok=True)
    (folder / "drawn/analogies-mine.png").write_text("mine")
    done = run("analogies", *words)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.output
    assert said in done.stderr


def test_a_run_on_images_has_no_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    quick = ["--iterations", "1", "--tasks", "1", "--validate-tasks", "2", "--queries", "1", "--engine", "eager"]
    made = run("meta-train", *quick, "--model", "mlp", "--image-size", "16", "--quiet", "--out", "images")
    assert made.exit_code == 0, made.output
    done = run("analogies", "images", "--questions", "questions.txt")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "images holds no network that reads words, but a MLP" in done.stderr
