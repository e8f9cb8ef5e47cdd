"""Plain texts to pretrain on: the table's, and the user's own."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest

from metaft.data.texts import corpora
from metaft.data.texts.corpora import CORPORA, Document, load
from metaft.errors import MetaftError
from tests.text.real import real_root

MEASURED = {
    "openstax": ((1586, 36_076, 3_098_306), (65, None, 136_759)),
    "eltec": ((1409, 97_645, 4_742_548), (46, None, 139_233)),
    "children": ((726, None, 1_292_127), (38, None, 61_540)),
    "tinystories": ((950, None, 176_120), (50, None, 9_082)),
}
"""Documents, paragraphs and words of train and val, as the data's own page has them."""


def words(documents: tuple[Document, ...]) -> int:
    return sum(len(paragraph.split()) for document in documents for paragraph in document.paragraphs)


@pytest.mark.parametrize("name", MEASURED)
def test_a_corpus_is_whole(name: str) -> None:
    real_root(*CORPORA[name].files)
    for split, (documents, paragraphs, count) in zip(("train", "val"), MEASURED[name], strict=True):
        begun = time.process_time()
        found = load(name, split)
        assert time.process_time() - begun < 2
        assert (len(found), words(found)) == (documents, count)
        assert paragraphs in (None, sum(len(document.paragraphs) for document in found))
        assert len({document.id for document in found}) == len(found)
        assert f"{documents:,}" in CORPORA[name].counts
        assert f"{count:,}" in CORPORA[name].counts


def test_corpora_that_come_undivided_lose_nothing() -> None:
    real_root(*CORPORA["factbook"].files, *CORPORA["tinyshakespeare"].files)
    train, val = load("factbook", "train"), load("factbook", "val")
    assert (len(train), len(val), words(train) + words(val)) == (251, 10, 1_121_588)
    assert not {document.id for document in train} & {document.id for document in val}
    (train,), (val,) = load("tinyshakespeare", "train"), load("tinyshakespeare", "val")
    whole = (real_root() / CORPORA["tinyshakespeare"].train).read_text()
    both = (*train.paragraphs, *val.paragraphs)
    assert " ".join(both).split() == whole.split()
    assert all(paragraph in whole for paragraph in both)
    share = sum(map(len, val.paragraphs)) / sum(map(len, train.paragraphs + val.paragraphs))
    assert abs(share - 0.05) < 0.001


def test_several_are_joined() -> None:
    real_root(*CORPORA["tinystories"].files, *CORPORA["children"].files)
    both = load("tinystories+children", "val")
    assert both == load("tinystories", "val") + load("children", "val")
    assert len(both) == 88


def test_all_are_all_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAFT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    for name, corpus in CORPORA.items():
        for file in corpus.files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            text = "\n\n".join(f"{name} {i}" for i in range(40))
            line = json.dumps({"id": f"{name}/{file}", "title": name, "text": text})
            content = text if file.endswith(".txt") else gzip.compress(f"{line}\n{line}\n".encode(), mtime=0)
            (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    found = load("all", "train", tmp_path)
    assert [document.paragraphs[0].split()[0] for document in found] == sorted(
        (document.paragraphs[0].split()[0] for document in found), key=list(CORPORA).index
    )
    assert {document.paragraphs[0].split()[0] for document in found} == set(CORPORA)
    assert all(corpus.where(tmp_path) == str((tmp_path / corpus.train).parent) for corpus in CORPORA.values())


def test_paragraphs_are_parted_by_blank_lines_or_else_by_lines() -> None:
    assert corpora.paragraphs("one\r\ntwo\r\n\r\n \r\nthree\r\n") == ("one\ntwo", "three")
    assert corpora.paragraphs("one\n two \nthree") == ("one", "two", "three")
    assert corpora.paragraphs(" \n\n ") == ()


def test_ones_own_file_is_cut_at_its_end(tmp_path: Path) -> None:
    file = tmp_path / "novel.txt"
    file.write_bytes(b"\xef\xbb\xbf" + "\n\n".join(f"paragraph {i:03d}" for i in range(200)).encode())
    (train,), (val,) = load(file, "train"), load(str(file), "val")
    assert (len(train.paragraphs), len(val.paragraphs)) == (190, 10)
    assert train.paragraphs[0] == "paragraph 000"
    assert val.id == "novel"
    file.write_text("one\n\ntwo")
    assert (load(file, "train")[0].paragraphs, load(file, "val")[0].paragraphs) == (("one",), ("two",))


def test_ones_own_documents_are_divided(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(30):
        (tmp_path / f"{i:02d}.txt").write_text(f"text {i}")
    (tmp_path / "notes.md").write_text("# Notes")
    train, val = load(tmp_path, "train"), load(tmp_path, "val")
    assert [document.id for document in val] == ["24"]
    assert len(train) == 29
    assert "1 file passed over as no text: 1 .md" in caplog.text
    for i in range(3, 30):
        (tmp_path / f"{i:02d}.txt").unlink()
    assert [document.id for document in load(tmp_path, "val")] == ["02"]
    lines = [json.dumps({"text": f"text {i}\nmore", "title": "T"}) for i in range(26)]
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (val,) = load(tmp_path / "d.jsonl.gz", "val")
    assert val == Document("d/25", "T", ("text 24", "more"))


LAYOUTS = [("train/a.txt", "valid/b.txt"), ("train.txt", "Dev.txt"), ("train.jsonl", "val.txt")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_and_folders_named_so_are_the_splits(layout: tuple[str, str], tmp_path: Path) -> None:
    for name, text in zip(layout, ("learned", "held out"), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"text": text}) if name.endswith(".jsonl") else text)
    (tmp_path / "test.txt").write_text("never")
    found = {split: [document.paragraphs for document in load(tmp_path, split)] for split in ("train", "val")}
    assert found == {"train": [("learned",)], "val": [("held out",)]}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": ', r"a.jsonl, line 2: not JSON \(Expecting value at column"),
        ("a.jsonl", b'{"text": "x"}\n["y"]', r"a.jsonl, line 2: list, not a JSON object"),
        ("a.jsonl", b'{"txt": "x"}', r"a.jsonl, line 1: no 'text'; did you mean 'txt'"),
        ("a.jsonl", b'{"text": 3}', r"a.jsonl, line 1: 'text' is 3, not a text"),
        ("a.jsonl", b'{"text": "x"}\n\n{"text": " "}', r"a.jsonl, line 3: 'text' is empty"),
        ("a.jsonl", b"\n", r"a.jsonl holds no document"),
        ("a.txt", b"one\ntwo caf\xe9", r"a.txt is not a text file in UTF-8 \(byte 11, in line 2\)"),
        ("a.txt", b" \n", r"a.txt holds no text"),
        ("a.txt", b"one", r"a.txt has one paragraph"),
        ("a.txt.gz", b"one", r"a.txt.gz is not a complete gzip file"),
        ("a.txt.gz", gzip.compress(b"one\ntwo" * 99, mtime=0)[:20], r"a.txt.gz is not a complete gzip file"),
        ("a.doc", b"one", r"a.doc: expected a file .txt or .jsonl"),
    ],
)
def test_mistakes_name_file_and_line(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MetaftError, match=said) as found:
        load(tmp_path / name, "train")
    assert "\n" not in str(found.value)


def test_what_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAFT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    for asked, split, said in (
        ("openstaks", "train", "unknown corpus 'openstaks'; did you mean 'openstax'"),
        ("openstax+openstax", "train", "corpus 'openstax' is asked for twice"),
        ("openstax", "train", "corpus openstax was not found under data: no file openstax/train.jsonl.gz"),
        ("openstax", "test", "unknown split 'test' of a corpus"),
        (Path("nowhere.txt"), "train", "nowhere.txt does not exist"),
        (tmp_path, "train", "holds no text"),
    ):
        with pytest.raises(MetaftError, match=said):
            load(asked, split)
