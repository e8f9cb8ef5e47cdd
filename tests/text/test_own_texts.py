"""Texts of the user's own: tables as people's programs write them, folders, divisions, and mistakes."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import metaft
from metaft.cli import cli
from metaft.data.class_lists import by_seed
from metaft.data.splits import SPLITS
from metaft.data.texts import own_texts, text_table, tokenizer
from metaft.data.texts.text_table import Columns
from metaft.errors import MetaftError

ROWS = [("Où est la gare, s'il vous plaît ?", "way"), ('He said "no"; twice.', "talk"), ("Two\nlines\there", "talk")]


def table(separator: str = ",", ends: str = "\r\n", quoting: int = csv.QUOTE_MINIMAL) -> str:
    """Three rows as Python's own writer puts them."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, lineterminator=ends, quoting=quoting)
    writer.writerows([("text", "label"), *ROWS])
    return out.getvalue()


def jsonl(rows: object) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)  # type: ignore[attr-defined]


AS_OBJECTS = [{"id": i, "text": text, "label": label} for i, (text, label) in enumerate(ROWS)]
WRITTEN = {
    "commas.csv": table().encode(),
    "byte-order mark.csv": codecs.BOM_UTF8 + table().encode(),
    "UTF-16.csv": table().encode("utf-16"),
    "old Mac.csv": table(ends="\r", quoting=csv.QUOTE_ALL).encode(),
    "semicolons.csv": table(";", "\n").encode(),
    "tabs.csv": table("\t", "\n").encode(),
    "Excel.csv": b"sep=;\r\n" + table(";").encode(),
    "quoted.csv": table(quoting=csv.QUOTE_ALL).encode(),
    "tabs.tsv": table("\t").encode(),
    "quoted.tsv": table("\t", quoting=csv.QUOTE_ALL).encode(),
    "packed.csv.gz": gzip.compress(table().encode()),
    "objects.jsonl": jsonl(AS_OBJECTS).encode(),
    "objects with mark.jsonl": codecs.BOM_UTF8 + jsonl(AS_OBJECTS).encode() + b"\r\n\r\n",
    "escaped.jsonl.gz": gzip.compress("\n".join(map(json.dumps, AS_OBJECTS)).encode()),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_tables_are_read_as_written(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(WRITTEN[name])
    found = text_table.read(tmp_path / name, Columns())
    assert [row.text for row in found] == [text for text, _ in ROWS]
    assert [row.label for row in found] == [label for _, label in ROWS]
    assert {row.split for row in found} == {""}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_other_encodings_are_asked_for(encoding: str, tmp_path: Path) -> None:
    text = "text,label\nhello,a\nOù est-il ?,b\n" + ("“Oh”,b\n" if encoding == "cp1252" else "")
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    said = rf"in line 3\); save it as UTF-8 or give its encoding, texts:encoding={encoding}"
    with pytest.raises(MetaftError, match=said):
        text_table.read(tmp_path / "t.csv", Columns())
    found = text_table.read(tmp_path / "t.csv", Columns(encoding=encoding))
    assert found[1].text == "Où est-il ?"
    with pytest.raises(MetaftError, match="unknown encoding 'latin1252'"):
        text_table.read(tmp_path / "t.csv", Columns(encoding="latin1252"))


def test_marks_of_texts_in_a_file_of_tabs_part_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('text\tlabel\n"Oh," she said.\ta\nhe: "no\tb\n"yes\ta\n"I ""see"" it"\tb\n')
    found = text_table.read(tmp_path / "t.tsv", Columns())
    assert [row.text for row in found] == ['"Oh," she said.', 'he: "no', '"yes', 'I "see" it']
    assert [row.label for row in found] == ["a", "b", "a", "b"]


def test_labels_of_json_are_words(tmp_path: Path) -> None:
    rows = [{"text": "x", "label": label} for label in (1, True, "one", 2.5)]
    (tmp_path / "t.jsonl").write_text(jsonl(rows))
    assert [row.label for row in text_table.read(tmp_path / "t.jsonl", Columns())] == ["1", "true", "one", "2.5"]


MISTAKES = {
    "no text.csv": (b"text,label\nhi,a\n\n ,b\n", "line 4: the text is empty .column 'text'.; remove the row"),
    "no label.csv": (b"text,label\nhi,a\nho,\n", "line 3: the label is empty"),
    "comma.csv": (b"text,label\nhi,a\nwell, no,b\n", "line 3: 3 cells, and the first line names 2 columns; a text"),
    "after a long one.csv": (b'text,label\n"a\nb",a\nc\n', "line 4: 1 cell, "),
    "a long one.csv": (b'text,label\n"a\nb",a\n"c\nd"\n', "line 4: 1 cell, "),
    "empty and long.csv": (b'text,label\n"a\nb",a\n"\n \n",b\n', "line 4: the text is empty"),
    "open.csv": (b'text,label\nhi,a\n"ho,b\n', "line 3: not a table .unexpected end of data."),
    "other names.csv": (
        b"utterance,intent\nhi,a\n",
        "no column 'text'; did you mean 'intent'. Columns: intent, utterance",
    ),
    "near.csv": (b"texts,label\nhi,a\n", "no column 'text'; did you mean 'texts'"),
    "twice.csv": (b"text,label,text\nhi,a,b\n", "two columns are called 'text'"),
    "empty.csv": (b"", "is empty; expected a table"),
    "header.csv": (b"text,label\n", "holds no texts"),
    "tabs.tsv": (b'text\tlabel\n"hi\ta\nho\n', "line 3: 1 cell, "),
    "bad.jsonl": (b'{"text": "a", "label": "b"}\n{"text": "a" "label"}\n', "line 2: not JSON .Expecting ',' delimiter"),
    "list.jsonl": (b'["a", "b"]', "line 1: list, not a JSON object"),
    "names.jsonl": (b'{"txt": "a", "label": "b"}', "line 1: no column 'text'; did you mean 'txt'"),
    "later.jsonl": (b'{"text": "a", "label": "b"}\n{"text": "a"}', "line 2: no column 'label'"),
    "number.jsonl": (b'{"text": 3, "label": "b"}', "line 1: column 'text' is 3, not a text"),
    "labels.jsonl": (b'{"text": "a", "label": ["b"]}', "line 1: column 'label' is .*, not one label"),
    "null.jsonl": (b'{"text": "a", "label": null}', "line 1: column 'label' is null, not one label"),
    "table.xlsx": (b"PK", "expected .csv, .tsv, .jsonl"),
    "cut.csv.gz": (gzip.compress(b"text,label\n" * 50, mtime=0)[:-9], "not a complete gzip file"),
    "bytes.csv": (b"text,label\nhi,a\n\xff\xfe\xfa,b\n", "in line 3"),
    "zeros.csv": ("text,label\nhi,a\n".encode("utf-16-le"), "it holds zero bytes"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_name_file_and_line(name: str, tmp_path: Path) -> None:
    content, said = MISTAKES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MetaftError, match=said) as found:
        text_table.read(tmp_path / name, Columns())
    assert str(found.value).startswith(str(tmp_path / name))
    assert "\n" not in str(found.value)


def written(folder: Path, classes: int = 10, each: int = 6, split: str = "", head: str = "text,label") -> Path:
    """A table of so many classes; with a split, that column says it of all rows."""
    lines = [f"class {c} number {i},c{c:02d}{split}" for c in range(classes) for i in range(each)]
    (folder / "t.csv").write_text("\n".join([head, *lines]))
    return folder / "t.csv"


def test_classes_are_divided_as_those_of_images_are(tmp_path: Path) -> None:
    file = written(tmp_path)
    names = [f"c{c:02d}" for c in range(10)]
    for seed in (0, 3):
        parts = {split: own_texts.load(split, root=file, split_seed=seed) for split in SPLITS}
        assert {split: part.names for split, part in parts.items()} == by_seed(names, seed)
        assert [len(part.names) for part in parts.values()] == [6, 2, 2]
        assert all(text.split()[1] == str(int(name[1:])) for part in parts.values()
                   for name, own in part.by_class().items() for text in own)  # fmt: skip
    assert own_texts.load("all", root=file).names == tuple(names)
    examples = {split: own_texts.load(split, root=file, scheme="examples") for split in SPLITS}
    assert all(part.names == tuple(names) and part.shared for part in examples.values())
    assert len({text for part in examples.values() for text in part.texts}) == 60


def test_small_classes_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = written(tmp_path)
    file.write_text("\n".join(file.read_text().splitlines()[:-3]))
    parts = [own_texts.load(split, root=file, min_examples=4) for split in SPLITS]
    assert sorted(name for part in parts for name in part.names) == [f"c{c:02d}" for c in range(9)]
    assert "1 class of 10 left out, having fewer than 4 texts: c09 (3)" in caplog.text
    how = {"root": file, "ways": 2, "shots": 1, "queries": 3, "split": "all"}
    with pytest.raises(MetaftError, match=r"a class with only 3 .c09.: ask for fewer, .*min_examples=4"):
        metaft.families.episodes("texts", **how)  # type: ignore[arg-type]
    assert metaft.families.episodes("texts", min_examples=4, **how).images.classes == 9  # type: ignore[arg-type]
    with pytest.raises(MetaftError, match="no class has 7 texts; choose a smaller min_examples"):
        own_texts.load("train", root=file, min_examples=7)


def by_column(folder: Path, classes: dict[str, str], head: str = "text,label,split") -> Path:
    rows = [f"{said} {name} {i},{name},{said}" for said, names in classes.items() for name in names for i in range(20)]
    (folder / "t.csv").write_text("\n".join([head, *rows]))
    return folder / "t.csv"


def test_a_column_says_what_is_for_what(tmp_path: Path) -> None:
    file = by_column(tmp_path, {"train": "abc", "valid": "de", "test": "fg"})
    parts = {split: own_texts.load(split, root=file) for split in SPLITS}
    assert {split: part.names for split, part in parts.items()} == {
        "train": ("a", "b", "c"), "val": ("d", "e"), "test": ("f", "g"),
    }  # fmt: skip
    assert not any(part.shared for part in parts.values())
    assert own_texts.load("all", root=file).names == tuple("abcdefg")
    file = by_column(tmp_path, {"train": "ab", "dev": "ab", "test": "ba"}, "text,label,part")
    same = {split: own_texts.load(split, root=file, split_column="part") for split in SPLITS}
    assert all(part.shared and part.names == ("a", "b") for part in same.values())
    assert same["val"].texts[0] == "dev a 0"
    assert own_texts.load("all", root=file, split_column="part").counts == (60, 60)


def test_where_train_and_test_have_the_same_classes_val_is_of_train(tmp_path: Path) -> None:
    file = by_column(tmp_path, {"train": "ab", "test": "ab"})
    parts = {split: own_texts.load(split, root=file) for split in SPLITS}
    assert [part.counts for part in parts.values()] == [(16, 16), (4, 4), (20, 20)]
    assert not set(parts["train"].texts) & set(parts["val"].texts)
    assert all(str(text).startswith("train") for text in parts["val"].texts)


@pytest.mark.parametrize(
    ("classes", "options", "said"),
    [
        ({"train": "ab", "test": "cd"}, {}, "divided as column 'split' says, but nothing is for val"),
        ({"train": "ab", "val": "bc", "test": "de"}, {}, "class 'b' is in both train and val"),
        ({"train": "ab", "dev": "cd", "val": "ef"}, {}, "nothing is for test"),
        ({"train": "ab", "other": "cd"}, {"split_column": "split"}, "line 42: column 'split' is 'other'; expected"),
        ({"train": "ab", "test": "cd"}, {"split_column": "splt"}, "no column 'splt'; did you mean 'split'"),
        ({"train": "ab", "val": "cd", "test": "ef"}, {"scheme": "examples"}, "scheme = examples has nothing to divide"),
        ({"train": "ab"}, {"scheme": "example"}, "unknown scheme 'example' of texts; did you mean 'examples'"),
    ],
)
def test_columns_that_do_not_divide(
    classes: dict[str, str], options: dict[str, str], said: str, tmp_path: Path
) -> None:
    file = by_column(tmp_path, classes)
    with pytest.raises(MetaftError, match=said):
        own_texts.load("train", root=file, **options)  # type: ignore[arg-type]


def test_a_column_split_of_other_words_is_passed_over_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = by_column(tmp_path, {"fold1": "abc", "fold2": "def"})
    assert len(own_texts.load("all", root=file).names) == 6
    assert "column 'split' says 'fold1', not train, val or test, and is passed over" in caplog.text


def folders(base: Path, classes: str, each: int = 20, split: str = "") -> Path:
    for name in classes:
        (base / split / name).mkdir(parents=True)
        for i in range(each):
            (base / split / name / f"{i:02d}.txt").write_text(f"{split} {name} {i}")
    return base


def test_folders_are_divided_as_those_of_images_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders(tmp_path, "abcdefghij", each=3)
    (tmp_path / "a" / "notes.pdf").write_bytes(b"")
    parts = {split: own_texts.load(split, root=tmp_path) for split in SPLITS}
    assert {split: part.names for split, part in parts.items()} == by_seed("abcdefghij", 0)
    assert {part.texts[0] for part in parts.values()} == {f"{part.names[0]} 0" for part in parts.values()}
    assert "1 file passed over as no text: 1 .pdf" in caplog.text
    (tmp_path / "train.txt").write_text("a\nb")
    (tmp_path / "val.txt").write_text("c")
    (tmp_path / "test.txt").write_text("d\ne")
    assert own_texts.load("test", root=tmp_path).names == ("d", "e")
    assert len(own_texts.load("all", root=tmp_path).names) == 5


@pytest.mark.parametrize("val", ["val", ""])
def test_folders_of_splits(val: str, tmp_path: Path) -> None:
    for split in filter(None, ("Train", val, "test")):
        folders(tmp_path, "ab", split=split)
    parts = {split: own_texts.load(split, root=tmp_path) for split in SPLITS}
    assert all(part.shared and part.names == ("a", "b") for part in parts.values())
    assert [sum(part.counts) for part in parts.values()] == ([40, 40, 40] if val else [32, 8, 40])
    assert str(parts["val"].texts[0]).startswith("val" if val else "Train")
    assert sum(own_texts.load("all", root=tmp_path).counts) == (120 if val else 80)


def test_folders_of_splits_with_classes_of_their_own(tmp_path: Path) -> None:
    for split, names in {"train": "ab", "val": "cd", "test": "ef"}.items():
        folders(tmp_path, names, split=split)
    assert [own_texts.load(split, root=tmp_path).names for split in SPLITS] == [("a", "b"), ("c", "d"), ("e", "f")]
    assert own_texts.load("all", root=tmp_path).names == tuple("abcdef")
    folders(tmp_path, "a", split="test")
    with pytest.raises(MetaftError, match="class 'a' is in both train and test"):
        own_texts.load("train", root=tmp_path)


def test_mistakes_about_folders(tmp_path: Path) -> None:
    folders(tmp_path, "abc", each=2)
    (tmp_path / "b" / "00.txt").write_text(" \n")
    with pytest.raises(MetaftError, match=r"b/00.txt is empty; remove it"):
        own_texts.load("all", root=tmp_path)
    (tmp_path / "b" / "00.txt").write_bytes("Où".encode("latin-1"))
    with pytest.raises(MetaftError, match=r"b/00.txt is not a text file in UTF-8 .*texts:encoding=latin-1"):
        own_texts.load("all", root=tmp_path)
    assert own_texts.load("all", root=tmp_path, encoding="latin-1").texts[2] == "Où"
    for file in (tmp_path / "b").iterdir():
        file.unlink()
    with pytest.raises(MetaftError, match=r"class folder .*b holds no text"):
        own_texts.load("all", root=tmp_path)
    with pytest.raises(MetaftError, match=r"needs a file .* or a folder of class folders"):
        own_texts.load("all")
    with pytest.raises(MetaftError, match=r"cannot read .*nowhere.csv: No such file"):
        own_texts.load("all", root=tmp_path / "nowhere.csv")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "train.csv").write_text("text,label\n")
    with pytest.raises(MetaftError, match=r"tables is a folder of tables; give one of them .* such as .*train.csv"):
        own_texts.load("all", root=tmp_path / "tables")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    assert len(own_texts.load("all", root=written(tmp_path, classes=4)).names) == 4
    assert len(own_texts.load("all", root=written(tmp_path, classes=5)).names) == 5


def test_too_few_classes_have_a_way_forward(tmp_path: Path) -> None:
    file = written(tmp_path, classes=6, each=20)
    with pytest.raises(MetaftError) as found:
        metaft.families.episodes("texts", root=file)
    for said in (
        "5 ways asked for, but texts (train) has only 4 classes",
        "its 6 classes are divided 4 / 1 / 1 (train / val / test), at random, 64 : 16 : 20, by split_seed = 0",
        "say by a column 'split' what is for train, val and test (up to ways=2)",
        "have the same classes in all splits, and the texts of each divided (scheme=examples)",
    ):
        assert said in str(found.value)
    with pytest.raises(MetaftError, match=r"2 classes of .* cannot be divided into train, val, test.*scheme=examples"):
        metaft.families.episodes("texts", root=written(tmp_path, classes=2, each=20), ways=2)
    family = metaft.families.episodes("texts", root=file, ways=2, queries=3, scheme="examples")
    assert family.describe()["shared_classes"] is True


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path, classes=15, head="utterance,intent")
    few = ["--iterations", "2", "--tasks", "2", "--validate-tasks", "2", "--queries", "2", "--ways", "2", "--quiet"]
    few += ["--engine", "eager", "--workers", "1", "--model", "transformer:layers=1,width=8,heads=2"]
    own = ["--dataset", "texts:text=utterance,label=intent", "--data-root", str(file)]
    run = lambda *words: CliRunner().invoke(cli, list(words))
    done = run("meta-train", *own, *few, "--learner", "protonet", "--out", "run")
    assert done.exit_code == 0, done.output
    assert 'dataset_options = "text=utterance,label=intent"' in (tmp_path / "run/config.toml").read_text()
    for more in ([], own[:2]):
        done = run("evaluate", "run", "--tasks", "2", *more)
        assert done.exit_code == 0, done.output
    done = run("compare", "./run", *own, "--tasks", "2", "--ways", "2", "--queries", "2", "--seeds", "1", "--out", "c")
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "c/comparison.json").read_text())["family"]
    assert (told["dataset"], told["text"], told["label"]) == ("texts", "utterance", "intent")
    seen = ["--tasks", "2", "--ways", "2", "--queries", "2", "--split", "all", "--out", "d"]
    again = run("compare", "./run", *own, *seen)
    assert again.exit_code == 2
    assert "run was trained on" in again.stderr or "are other words" in again.stderr
    for options, said in {
        "texts": "no column 'text'; did you mean 'intent'? Columns: intent, utterance",
        "texts:text=utterance,label=intents": "no column 'intents'; did you mean 'intent'",
        "texts:txt=utterance": "data set 'texts' has no option 'txt'; did you mean 'text'",
        "texts:text=utterance,label=intent,scheme=example": "unknown scheme 'example' of texts",
    }.items():
        done = run("meta-train", "--dataset", options, *own[2:], *few, "--out", "other")
        assert (done.exit_code, done.stderr.count("\n"), said in done.stderr) == (2, 1, True), done.output
        assert not (tmp_path / "other").exists()
    done = run("meta-train", "--dataset-options", "text=a", "--out", "other")
    assert (done.exit_code, "data set glyphs has none of its own" in done.stderr) == (2, True), done.output


def test_runs_on_the_same_classes_are_tested_on_other_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path, classes=3, each=40)
    (tmp_path / "tokenizer.json").write_text(tokenizer.trained(own_texts.load("all", root=file).texts).text)
    own = ["--dataset", "texts:scheme=examples", "--data-root", str(file), "--ways", "2", "--queries", "2"]
    own += ["--tokenizer", "tokenizer.json"]
    few = ["--iterations", "2", "--tasks", "2", "--validate-tasks", "2", "--quiet", "--engine", "eager"]
    few += ["--workers", "1", "--model", "transformer:layers=1,width=8,heads=2", "--learner", "protonet"]
    run = lambda *words: CliRunner().invoke(cli, list(words))
    done = run("meta-train", *own, *few, "--out", "run")
    assert done.exit_code == 0, done.output
    done = run("evaluate", "run", "--tasks", "2")
    assert done.exit_code == 0, done.output
    for more in (["--split", "all"], ["--dataset", "texts:split_seed=1"]):
        done = run("evaluate", "run", "--tasks", "2", *more)
        assert (done.exit_code, "these test examples may be among them" in done.stderr) == (2, True), done.output


def test_a_text_may_be_a_book(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    (tmp_path / "t.csv").write_text("text,label\n" + "word " * 50_000 + ",a\n")
    assert len(text_table.read(tmp_path / "t.csv", Columns())[0].text) == 249_999
    assert csv.field_size_limit() == limit
