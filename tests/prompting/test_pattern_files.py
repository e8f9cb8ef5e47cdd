"""Files of patterns: those that come with metaft suit their data sets, and mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metaft.data.locate import find
from metaft.data.splits import SPLITS
from metaft.data.texts.table import TEXTS
from metaft.errors import MetaftError
from metaft.parts import load
from metaft.prompting.pattern_files import FOLDER, of_dataset, read
from metaft.prompting.verbalizer import check, words_for


@pytest.mark.parametrize("name", [name for name, row in TEXTS.items() if name != "texts" and not row.tasks])
def test_shipped_patterns_suit_their_data_set(name: str) -> None:
    patterns, row = of_dataset(name), TEXTS[name]
    if row.files and find(name, None, lambda root: root if (root / row.files[0]).is_file() else None) is None:
        pytest.skip(f"{name} is not here")
    options: list[dict[str, Any]] = [{}, {"labels": "coarse"}] if name == "trec" else [{}]
    for more in options:
        known: list[str] = []
        for split in SPLITS:
            texts = load(row.load)(split, **({"root": None} if row.files else {}), **more)
            known += texts.names
            for pattern in patterns.patterns.values():
                own = words_for(texts.names, patterns.words_of(pattern))
                assert pattern.written(texts.texts[0], own[0][0]).endswith(own[0][0])
        for pattern in patterns.patterns.values():
            words = patterns.words_of(pattern)
            if not more and name != "trec":
                check(words, known)  # none is missing, none unknown
            if words and name != "trec":
                assert set(words) == set(known)


def test_every_file_is_read_and_is_a_data_sets() -> None:
    for file in FOLDER.glob("*.toml"):
        assert read(file).patterns
        assert file.stem == "default" or file.stem in TEXTS


def test_those_of_no_data_set_suit_any_texts() -> None:
    patterns = of_dataset("nobody's")
    assert patterns.find(None).name == "text"
    assert patterns.find(None, pairs=True).name == "pair"
    with pytest.raises(MetaftError, match="unknown pattern 'texst'; did you mean 'text'"):
        patterns.find("texst")
    with pytest.raises(MetaftError, match=r"none of the patterns review.*for pairs"):
        of_dataset("sst2").find(None, pairs=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pattern = ", "is not valid TOML"),
        ("[words]\na = 'b'", r"has no \[\[pattern\]\]"),
        ("[[pattern]]\nname = 'a'", "pattern 1 needs a name and a text"),
        ("[[pattern]]\nname = 'a'\ntxt = 'b'", "has an unknown 'txt'; did you mean 'text'"),
        ("[[patern]]\n", "has an unknown 'patern'; did you mean 'pattern'"),
        ("[words]\na = 'x'\nb = 'x'\n[[pattern]]\nname='p'\ntext='{text} {answer}'", "classes 'a' and 'b' both have"),
        ("[words]\na = ''\n[[pattern]]\nname='p'\ntext='{text} {answer}'", "class 'a' has an empty word"),
        ("[words]\na = 3\n[[pattern]]\nname='p'\ntext='{text} {answer}'", "a should be a word or a list of words"),
        ("[[pattern]]\nname='p'\ntext='{text} {answer}'\n" * 2, "pattern 2: the name 'p' is taken"),
        ("[[pattern]]\nname='p'\ntext='{text}'", "has no place for the answer"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(MetaftError, match=said) as refused:
        read(tmp_path / "own.toml")
    assert "\n" not in str(refused.value)
    with pytest.raises(MetaftError, match="cannot read patterns"):
        read(tmp_path / "none.toml")


def test_words_of_classes() -> None:
    assert words_for(["card_declined", "pin"], {"pin": ("PIN", "number")}) == [("card declined",), ("PIN", "number")]
    with pytest.raises(MetaftError, match="classes 'a_b' and 'a b' both have the word 'a b'"):
        words_for(["a_b", "a b"], {})
    with pytest.raises(MetaftError, match="speaks of an unknown class 'x'"):
        check({"x": ("a",)}, ["y"])
    with pytest.raises(MetaftError, match="has no words for class 'z'"):
        check({"y": ("a",)}, ["y", "z"])
