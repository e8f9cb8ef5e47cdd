"""Learners that write prompts, and patterns, with texts of one's own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import metaft
from metaft.assembly.causal_model import causal_model
from metaft.cli import cli
from metaft.errors import MetaftError
from metaft.estimator.written_texts import WrittenLookup, WrittenTexts
from metaft.learners.in_context import InContext

TEXTS = ["The cat sat. ", "A dog ran!", "It rains\n", "The sun is bright {here}"]
KINDS = ["animal", "animal", "sky", "sky"]
QUERIES = ["a bird sings", "clouds, and more clouds", "é 日本"]
LEARNER = "in-context:backbone=stories260k"

pytestmark = pytest.mark.usefixtures("stories")


@pytest.fixture
def stories() -> None:
    try:
        causal_model("stories260k")
    except MetaftError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("options", ["", ",calibration=batch", ",shots=0", ",direction=channel"])
def test_answers_are_those_of_the_prompts(options: str, tmp_path: Path) -> None:
    made = metaft.load(LEARNER + options).fit(TEXTS, KINDS)
    own = dict(option.split("=") for option in options.split(",") if option)
    shots = {"shots": int(own.pop("shots"))} if "shots" in own else {}
    learner = InContext(causal_model("stories260k")[0], seed=0, **own, **shots)
    names = ["animal", "sky"]
    scores = learner.scores(learner.asked(TEXTS, [0, 0, 1, 1], names), QUERIES)
    np.testing.assert_allclose(made.predict_proba(QUERIES), scores.softmax(-1), atol=1e-5)
    assert made.transductive == ("batch" in options)
    again = metaft.load(made.save(tmp_path / "kept"))
    np.testing.assert_array_equal(again.predict_proba(QUERIES), made.predict_proba(QUERIES))


def test_pairs_and_labels_that_are_numbers() -> None:
    pairs = [("it rains", "it is wet"), ("a dog", "a cat")]
    made = metaft.load(LEARNER).fit(pairs, [3, 7])
    assert made.predict_proba([("the sun", "is out")]).shape == (1, 2)
    assert set(made.predict(pairs)) <= {3, 7}
    told = made._live()[0].prompter.head([(pairs[0], "3")])
    assert all(part in told for part in (*pairs[0], "3"))


def test_texts_come_back_as_they_were() -> None:
    texts = [*TEXTS, *QUERIES]
    assert WrittenLookup(()).texts(WrittenTexts().read(texts)) == texts
    pairs = list(zip(texts, reversed(texts), strict=True))
    assert WrittenLookup(()).texts(WrittenTexts(True).read(pairs)) == pairs
    assert WrittenLookup(("a", "b", "c")).classes(torch.zeros(3), torch.tensor([2, 0, 2])) == ["a", "c"]


def test_a_pattern_is_part_of_what_is_saved(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[[pattern]]\nname = "kind"\ntext = "Once, {text}\\nIt was about a {answer}"\n')
    for learner in ("class-means:backbone=stories260k", LEARNER):
        plain = metaft.load(learner).fit(TEXTS, KINDS).predict_proba(QUERIES)
        asked = f"{learner}{',' if '=' in learner else ':'}pattern={file}#kind"
        made = metaft.load(asked).fit(TEXTS, KINDS)
        written = made.predict_proba(QUERIES)
        assert np.abs(written - plain).max() > 1e-4
        kept = made.save(tmp_path / learner.partition(":")[0])
        moved = kept.rename(tmp_path / f"{kept.name}-moved")
        file.rename(tmp_path / "away")
        again = metaft.load(moved)
        np.testing.assert_array_equal(again.predict_proba(QUERIES), written)
        np.testing.assert_allclose(again.fit(TEXTS, KINDS).predict_proba(QUERIES), written, atol=1e-6)
        (tmp_path / "away").rename(file)


def test_on_the_command_line(tmp_path: Path) -> None:
    rows = [{"text": text, "label": kind} for text, kind in zip(QUERIES * 2, KINDS, strict=False)]
    (tmp_path / "support.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "query.txt").write_text("a bird sings\nclouds\n")
    words = ["predict", LEARNER, "--support", tmp_path / "support.jsonl", "--query", tmp_path / "query.txt"]
    done = CliRunner().invoke(cli, [*map(str, words), "--csv", str(tmp_path / "a.csv")])
    assert done.exit_code == 0, done.output
    made = metaft.load(LEARNER).fit([row["text"] for row in rows], [row["label"] for row in rows])
    answers = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [row["answer"] for row in answers] == made.predict(["a bird sings", "clouds"]).tolist()


def test_mistakes_are_one_line() -> None:
    with pytest.raises(MetaftError, match="predicts no values"):
        metaft.estimator.estimator.FewShotRegressor(LEARNER).fit(TEXTS, [0.0, 1.0, 2.0, 3.0])
    with pytest.raises(MetaftError, match="text 1 is empty"):
        metaft.load(LEARNER).fit(["a", " "], ["x", "y"])
    with pytest.raises(MetaftError, match=r"unknown pattern 'nowhere'; known: pair, text$"):
        metaft.load("class-means:backbone=stories260k,pattern=nowhere").fit(TEXTS, KINDS)
