"""``metaft facts``: every kind of prompt asks the same subjects; what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from metaft.assembly.causal_model import causal_model
from metaft.cli import cli
from metaft.commands.facts import divided
from metaft.data.texts.facts import Relation, load
from metaft.evaluation.facts_report import Told, consistency
from metaft.prompting import Pattern, Prompter

NAMES = ["Tim", "Lily", "Tom", "Ben", "Mia", "Sue", "Max", "Sam", "Ann", "Bob", "Jim", "Kim", "Dan", "Joe", "Amy"]
THINGS = ("ball", "red car", "dog", "big tree")
QUICK = ["--train", "6", "--validation", "2", "--shots", "2", "--paraphrases", "1", "--trigger-length", "2",
         "--trigger-steps", "2", "--prompt-length", "2", "--prompt-steps", "2"]  # fmt: skip
KINDS = ["zero-shot", "one-shot", "2-shot", "paraphrase 1", "trigger", "soft prompt"]


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, ["facts", *words])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("facts")
    (made / "factbook").mkdir()
    rows = [f"{name}\t{THINGS[number % 4]}\tsomewhere" for number, name in enumerate(NAMES)]
    (made / "factbook/capitals.tsv").write_text("\n".join(["country\tcapital\tregion", *rows]) + "\n")
    return made


def test_the_table_the_page_and_the_answers(root: Path, tmp_path: Path) -> None:
    asked = ["stories260k", "--data-root", str(root), *QUICK]
    done = run(*asked, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    held = json.loads((tmp_path / "out/facts.json").read_text())
    assert list(held["results"]) == KINDS
    assert all(kind in done.stdout and f"| {kind} |" in (tmp_path / "out/facts.md").read_text() for kind in KINDS)
    assert held["seeds"] == [0]
    parts = held["subjects"]
    assert sorted(name for some in parts.values() for name in some) == sorted(NAMES)
    assert {name: len(some) for name, some in parts.items()} == {"train": 6, "validation": 2, "test": 7}
    for said in ("7 test subjects, 4 objects", "equal answers among pairs of 2 patterns", "trigger: step 2 of 2"):
        assert said in done.stdout + done.stderr

    relation, (model, tokenizer) = load("capitals", root), causal_model("stories260k")
    truth = dict(relation.facts)
    assert held["right"] == [truth[name] for name in parts["test"]]
    for kind in KINDS[:-1]:  # whose prompts can be typed
        found = held["results"][kind]
        shown = [(name, truth[name]) for name in parts["train"][: {"one-shot": 1, "2-shot": 2}.get(kind, 0)]]
        assert found.get("demonstrations", []) == [list(fact) for fact in shown]
        prompter = Prompter(model, tokenizer, Pattern(found["pattern"], between="\n"))
        scores = prompter.scores(shown, parts["test"], [(one,) for one in relation.objects])
        answers = [relation.objects[number] for number in scores.argmax(-1).tolist()]
        assert found["answers"] == answers
        right = [one == truth[name] for one, name in zip(answers, parts["test"], strict=True)]
        assert found["right"] == pytest.approx(100 * np.mean(right))
    assert held["results"]["trigger"]["pattern"].count(held["results"]["trigger"]["trigger"]) == 1
    losses = held["results"]["soft prompt"]["validation_losses"]
    assert len(losses) == 2

    taken = run(*asked, "--out", str(tmp_path / "out"))
    assert (taken.exit_code, taken.stderr.count("\n")) == (2, 1)
    assert "already holds a table of facts; give --overwrite to replace it" in taken.stderr
    few = ["--shots", "0", "--trigger-length", "0", "--prompt-length", "0", "--paraphrases", "0", "--overwrite"]
    again = run(*asked, *few, "--out", str(tmp_path / "out"))
    assert again.exit_code == 0, again.output
    whole = json.loads((tmp_path / "out/facts.json").read_text())
    other = whole["results"]
    assert (list(other), whole["consistency"]) == (["zero-shot"], None)
    assert other["zero-shot"]["answers"] == held["results"]["zero-shot"]["answers"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--relation", "capitls"], "T-REx was not found"),
        (["--train", "14"], "has 15 subjects, and 14 to train on and 2 to validate on leave 0 to test"),
        (["--train", "0"], "train must be a whole number of at least 1"),
        (["--test", "1"], "test must be a whole number of at least 2"),
        (["--shots", "7"], "7 shots are shown out of 6 training subjects"),
        (["--trigger-length", "-1"], "trigger_length must be a whole number"),
        (["--prompt-steps", "-1"], "prompt_steps must be a whole number"),
        (["--seed", "-1"], "seed = -1"),
        (["--seed", "many"], "'many'"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, root: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("METAFT_DATA", str(root))
    monkeypatch.chdir(tmp_path)
    done = run("stories260k", "--data-root", str(root), *QUICK, *words, "--out", str(tmp_path / "none"))
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.output
    assert said in done.stderr
    assert not (tmp_path / "none").exists()


def test_other_models_are_refused(root: Path) -> None:
    done = run("absent", "--data-root", str(root), *QUICK)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "unknown model 'absent'" in done.stderr


def test_subjects_are_divided_by_the_seed() -> None:
    relation = Relation("some", "some", tuple((str(n), str(n % 5)) for n in range(30)), ("{text} {answer}",))
    one = divided(relation, 5, 3, 10, 0)
    assert one == divided(relation, 5, 3, 10, 0)
    assert one != divided(relation, 5, 3, 10, 1)
    assert len({*one.train, *one.validation, *one.test}) == 18
    assert divided(relation, 5, 3, 100, 0).test[:10] == one.test


def test_consistency_is_the_share_of_equal_pairs() -> None:
    none = np.zeros(2, dtype=bool)
    told = [Told("a", "", answers, none, none, 0.0) for answers in ((1, 2), (1, 3), (4, 3))]
    assert consistency(told) == pytest.approx(100 * (1 + 0 + 1) / 6)
    assert np.isnan(consistency(told[:1]))
