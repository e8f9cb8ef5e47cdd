"""Questions as they are read, and words as they are found among vectors."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from metaft.data.texts.analogies import FILE, is_syntactic, load
from metaft.data.texts.word_vectors import WordVectors
from metaft.errors import MetaftError
from tests.text.real import real_root

TEXT = """: family
boy girl king queen
king queen boy girl

: gram1-plural
cat cats dog dogs
"""


def written(folder: Path, text: str, name: str = "mine.txt") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_sections_and_pairs(tmp_path: Path) -> None:
    found = load(written(tmp_path, TEXT))
    assert found.sections == ("family", "gram1-plural")
    assert found.section == (0, 0, 1)
    assert found.words[1] == ("king", "queen", "boy", "girl")
    assert found.pairs().tolist() == [[0, 1], [1, 0], [2, 3]]
    assert found.members(1).tolist() == [False, False, True]
    assert [is_syntactic(name) for name in found.sections] == [False, True]


def test_what_stands_before_the_first_section_and_in_a_packed_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt.gz"
    file.write_bytes(gzip.compress(b"\xef\xbb\xbfa b c d\r\n: two\r\na b c d\r\n: mine\r\na b d c\r\n"))
    found = load(file)
    assert found.sections == ("mine", "two")
    assert found.section == (0, 1, 0)  # a name that stands twice is one section


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (": family\nboy girl king\n", "line 2: expected four words a : b = c : d, not 3"),
        (":\nboy girl king queen\n", "line 1: a section has no name"),
        (": family\n", "holds no question"),
        ("", "holds no question"),
    ],
)
def test_what_is_no_file_of_questions_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match=said):
        load(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MetaftError, match=r"cannot read .*absent\.txt: No such file"):
        load(tmp_path / "absent.txt")
    monkeypatch.delenv("METAFT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MetaftError, match=r"questions-words\.txt was not found under .*root or METAFT_DATA"):
        load()
    (tmp_path / "data/analogies").mkdir(parents=True)
    written(tmp_path / "data/analogies", TEXT, "questions-words.txt")
    assert len(load().words) == 3
    assert len(load(root=tmp_path / "data").words) == 3


def test_the_published_questions() -> None:
    found = load(root=real_root(FILE))
    assert (len(found.words), len(found.sections)) == (19544, 14)
    assert sum(map(is_syntactic, found.sections)) == 9
    assert sum(is_syntactic(found.sections[number]) for number in found.section) == 10675


def test_case_is_folded_where_no_word_has_a_capital(tmp_path: Path) -> None:
    found = load(written(tmp_path, "Athens Greece oslo norway\n"))
    low = WordVectors(("norway", "oslo", "athens", "greece"), torch.eye(4), "low")
    assert found.rows(low).tolist() == [[2, 3, 1, 0]]
    some = WordVectors(("norway", "oslo", "Athens", "greece"), torch.eye(4), "some")
    assert found.rows(some).tolist() == [[2, -1, 1, 0]]


def test_vectors_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(MetaftError, match="lost has 2 words and 3 vectors"):
        WordVectors(("a", "b"), torch.eye(3), "lost")
    with pytest.raises(MetaftError, match="not finite"):
        WordVectors(("a",), torch.tensor([[float("nan")]]), "lost")
