"""Facts as files have them: capitals and T-REx, what is left out, and mistakes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from metaft.data.texts.facts import OF_CAPITALS, load
from metaft.errors import MetaftError
from metaft.prompting import Pattern

FACTS = [("P1", "Ann", "Rome"), ("P1", "Bob", "Bonn"), ("P1", "Cy", "Rome"), ("P1", "Cy", "Bonn"),
         ("P1", "Bob", "Bonn"), ("P2", "Ann", "red"), ("P3", "Ann", "Rome"), ("P3", "Bob", "Bonn")]  # fmt: skip
PATTERNS = [("P1", "[X] was born in [Y]."), ("P1", "[X],  born in [Y]"), ("P1", "[Y] is where [X] was born"),
            ("P1", "[X] lives in [Y] ."), ("P1", "[X] {was} born in [Y]"), ("P1", "born in the[Y] [X]")]  # fmt: skip
TEMPLATES = [("P1", "[X] was born in [Y] ."), ("P2", "[X] is [Y]"), ("P3", "[Y] is of [X]"), ("P4", "[X] is [Y]")]


def written(root: Path) -> Path:
    (root / "trex").mkdir(parents=True)
    rows = lambda names, some: "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in some)
    (root / "trex/facts.jsonl.gz").write_bytes(gzip.compress(rows(("relation", "subject", "object"), FACTS).encode()))
    (root / "trex/patterns.jsonl").write_text(rows(("relation", "pattern"), PATTERNS))
    templates = [(name, text, f"label of {name}") for name, text in TEMPLATES]
    (root / "trex/relations.jsonl").write_text(rows(("relation", "template", "label"), templates))
    return root


def test_what_can_be_asked_is_read(tmp_path: Path) -> None:
    found = load("P1", written(tmp_path))
    assert found.facts == (("Ann", "Rome"), ("Bob", "Bonn"))  # Cy has two objects
    assert found.objects == ("Rome", "Bonn")
    assert found.label == "label of P1"
    assert found.templates == (
        "{text} was born in {answer}", "{text}, born in {answer}", "{text} lives in {answer}",
        "{text} {{was}} born in {answer}",
    )  # fmt: skip
    assert [Pattern(text).asked("Ann") for text in found.templates][-1] == "Ann {was} born in "


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("P11", r"unknown relation 'P11'; did you mean 'P1'\? *; known: capitals, P1, P2, P3, P4"),
        ("P2", "holds no facts of relation P2 with two objects or more"),
        ("P3", "relation P3 has no pattern that ends with its object"),
        ("P4", "holds no facts of relation P4"),
    ],
)
def test_what_cannot_be_asked_is_one_line(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match=said):
        load(name, written(tmp_path))


def test_mistakes_in_files_are_named(tmp_path: Path) -> None:
    root = written(tmp_path)
    (root / "trex/relations.jsonl").write_text('{"relation": "P1"}\n')
    with pytest.raises(MetaftError, match=r"relations\.jsonl, line 1: no 'template'"):
        load("P1", root)
    (root / "factbook").mkdir()
    (root / "factbook/capitals.tsv").write_text("country\tcapital\tregion\nFrance\tParis\n")
    with pytest.raises(MetaftError, match=r"capitals\.tsv, line 2: expected 3 cells"):
        load("capitals", root)


def test_those_that_lie_here() -> None:
    try:
        capitals, born = load(), load("P19")
    except MetaftError as error:
        pytest.skip(str(error))
    assert len(capitals.facts) == 222
    assert dict(capitals.facts)["France"] == "Paris"
    assert capitals.templates == OF_CAPITALS
    assert (len(born.facts), born.label, len(born.objects)) == (779, "place of birth", 229)
    assert born.templates[0] == "{text} was born in {answer}"
    assert all(Pattern(text).asked("Ann") for text in (*capitals.templates, *born.templates))
