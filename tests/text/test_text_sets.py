"""Data sets of texts as they lie under the data root: whole, divided as said, marks and pairs kept."""

from __future__ import annotations

import csv
import gzip
import json
import re
import time
import zipfile
from pathlib import Path

import pytest
import torch

import metaft
from metaft.data import catalog
from metaft.data.splits import SPLITS
from metaft.data.texts import intents, tokenizer
from metaft.data.texts.division import as_divided, by_examples, plain, without
from metaft.data.texts.labelled_texts import LabelledTexts, parts_of
from metaft.data.texts.semeval_relations import RELATIONS, marked
from metaft.data.texts.table import TEXTS
from metaft.errors import MetaftError
from metaft.tasks.grouped import GroupedEpisodes
from tests.text.real import real_root

SHARED = {"sst2": 2, "mr": 2, "cr": 2, "subj": 2, "ag-news": 4, "rte": 2}
"""Data sets whose classes are the same in all splits, and how many there are."""
DIVIDED = ("newsgroups20", "trec", "semeval-relations")


def read(name: str, **options: object) -> dict[str, LabelledTexts]:
    """All splits of a data set."""
    real_root(*TEXTS[name].files)
    load = catalog.DATASETS[name].texts
    assert load is not None
    found = {}
    for split in SPLITS:
        begun = time.process_time()
        found[split] = load(split, **options)
        assert time.process_time() - begun < 2
    return found


def test_rows_are_in_the_catalog() -> None:
    assert [name for name, info in catalog.DATASETS.items() if info.texts is not None] == list(TEXTS)
    assert tuple(intents.SCHEMES) == TEXTS["intents"].schemes
    assert {name for name, row in TEXTS.items() if row.ways} == {*SHARED, "tastes"}


@pytest.mark.parametrize("name", SHARED)
def test_splits_of_the_same_classes_share_no_text(name: str) -> None:
    parts = read(name)
    assert len({part.names for part in parts.values()}) == 1
    assert all(part.shared and len(part.names) == SHARED[name] for part in parts.values())
    held_out = {plain(text) for split in ("val", "test") for text in parts[split].texts}
    assert not held_out & {plain(text) for text in parts["train"].texts}
    counts = " / ".join(f"{len(part.texts):,}" for part in parts.values())
    assert catalog.DATASETS[name].counts.startswith(counts), counts


@pytest.mark.parametrize("name", DIVIDED)
def test_splits_of_other_classes(name: str) -> None:
    parts = read(name)
    assert not any(part.shared for part in parts.values())
    names = [name for part in parts.values() for name in part.names]
    assert len(set(names)) == len(names)
    groups = [set(part.groups) for part in parts.values()]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    sizes = [count for part in parts.values() for count in part.counts]
    told = catalog.DATASETS[name].counts
    assert told.startswith(" / ".join(str(len(part.names)) for part in parts.values())), [
        len(part.names) for part in parts.values()
    ]
    assert f"× {min(sizes):,} to {max(sizes):,}" in told, (min(sizes), max(sizes))


def test_sst2_is_as_published() -> None:
    root = real_root(*TEXTS["sst2"].files) / "sst2"
    parts = read("sst2")
    assert [len(parts[split].texts) for split in ("val", "test")] == [872, 1821]
    assert parts["test"].names == ("negative", "positive")
    assert parts["test"].counts == (912, 909)
    rows = (root / "sentences/train.tsv").read_text().splitlines()
    assert len(rows) == 6920
    gone = {plain(row.split("\t")[0]) for row in rows} - {plain(text) for text in parts["train"].texts}
    assert len(gone) == 3  # one of dev's, two of test's
    phrases = read("sst2", form="phrases")
    assert [len(phrases[split].texts) for split in ("val", "test")] == [6735, 872]
    assert len(phrases["train"].texts) < 60_614
    assert phrases["test"].counts == (428, 444)
    with pytest.raises(MetaftError, match="unknown form 'phrase' of sst2; did you mean 'phrases'"):
        read("sst2", form="phrase")


def test_trec_by_type_and_by_fine_class(caplog: pytest.LogCaptureFixture) -> None:
    archive = real_root(*TEXTS["trec"].files) / "trec/qc.zip"
    with zipfile.ZipFile(archive) as held:
        rows = {part: held.read(f"qc/{part}.txt").decode("latin-1").splitlines() for part in ("train", "test")}
    assert {part: len(own) for part, own in rows.items()} == {"train": 5452, "test": 500}
    assert len({row.split()[0] for row in rows["train"]}) == 50
    coarse = read("trec", labels="coarse", min_examples=9)
    assert coarse["test"].names == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    assert len(coarse["test"].texts) == 500
    caplog.clear()
    five = read("trec", labels="coarse")
    assert {part.names for part in five.values()} == {("DESC", "ENTY", "HUM", "LOC", "NUM")}
    assert "1 class of 6 left out, having fewer than 16 questions in a split: ABBR (9)" in caplog.text
    assert len(five["test"].texts) == 491
    twice = {plain(row.partition(" ")[2]) for row in rows["test"]} & {plain(r.partition(" ")[2]) for r in rows["train"]}
    assert len(twice) == 11
    caplog.clear()
    fine = read("trec")
    assert caplog.text.count("11 classes of 50 left out, having fewer than 16 questions") >= 1
    assert set(fine["test"].groups) == {"HUM", "NUM"}
    assert tuple(name.partition(":")[0] for name in fine["test"].names) == fine["test"].groups
    more = read("trec", min_examples=20)
    assert min(min(part.counts) for part in more.values()) >= 20
    assert set(read("trec", min_examples=1)["val"].names) == {"LOC:city", "LOC:country", "LOC:mount", "LOC:other",
                                                              "LOC:state"}  # fmt: skip
    random = read("trec", scheme="random", split_seed=3)
    both = [{name for part in own.values() for name in part.names} for own in (random, fine)]
    assert both[0] == both[1]
    for options, said in (
        ({"labels": "corse"}, "unknown kind of labels 'corse' of trec; did you mean 'coarse'"),
        ({"scheme": "type"}, "unknown scheme 'type' of trec; did you mean 'types'"),
        ({"labels": "coarse", "scheme": "random"}, "labels = coarse has the same in all splits"),
        ({"min_examples": 10**6}, "no class of train has 1000000 questions"),
        ({"min_examples": 10**6, "labels": "coarse"}, "no type has 1000000 questions in each split"),
    ):
        with pytest.raises(MetaftError, match=said):
            read("trec", **options)


def test_newsgroups_are_divided_as_bao_et_al_have_it() -> None:
    files = TEXTS["newsgroups20"].files
    root = real_root(*files)
    held = {file: gzip.decompress((root / file).read_bytes()).decode().strip().split("\n") for file in files}
    assert [len(lines) for lines in held.values()] == [11_001, 7_308]
    rows = [json.loads(line) for lines in held.values() for line in lines]
    parts = read("newsgroups20")
    assert {split: set(part.groups) for split, part in parts.items()} == {
        "train": {"sci", "rec"}, "val": {"comp"}, "test": {"alt", "misc", "soc", "talk"},
    }  # fmt: skip
    assert [len(part.names) for part in parts.values()] == [8, 5, 7]
    for part in parts.values():
        for name, texts in part.by_class().items():
            assert len(texts) == len({plain(text) for text in texts})
            assert {plain(text) for text in texts} == {plain(row["text"]) for row in rows if row["label"] == name}
    assert [len(part.names) for part in read("newsgroups20", scheme="random").values()] == [13, 3, 4]


def test_marked_places_survive_to_the_numbers() -> None:
    parts = read("semeval-relations")
    for part in parts.values():
        assert len(part.names) >= 5
        assert min(part.counts) >= 20
        assert all(text.count("$") == text.count("#") == 2 for text in part.texts)  # type: ignore[union-attr]
    names = {name for part in parts.values() for name in part.names}
    assert len(names) == 17
    assert "Entity-Destination(e2,e1)" not in names
    assert {name.partition("(")[0] for name in names} == {name for own in RELATIONS.values() for name in own}
    family = metaft.families.episodes("semeval-relations", queries=2, split="test")
    tokens = family.images
    own = tokenizer.trained(parts["train"].texts)
    for row in range(0, len(tokens), 97):
        ids = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]].tolist()
        words = [own._own.id_to_token(number) for number in ids]
        assert (words.count("$"), words.count("#")) == (2, 2)
        inside = lambda sign: words[words.index(sign) + 1 : len(words) - 1 - words[::-1].index(sign)]  # noqa: B023
        assert inside("$")
        assert inside("#")
        assert not set(inside("$")) & {"$", "#"}


def test_signs_of_a_sentence_s_own_are_words() -> None:
    found = marked("A <e1>price</e1> of $5 for the #1 <e2>song</e2>.")
    assert found == "A $ price $ of dollars 5 for the number 1 # song # ."


def test_pairs_survive_to_the_numbers() -> None:
    root = real_root(*TEXTS["rte"].files)
    parts = read("rte")
    assert all(isinstance(text, tuple) and len(text) == 2 for part in parts.values() for text in part.texts)
    with open(root / "rte/dev.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert {(row["sentence1"], row["sentence2"]) for row in rows} == set(parts["test"].texts)
    assert len(rows) == 277
    assert parts["test"].counts == (146, 131)
    whole = sum(len(parts[split].texts) for split in ("train", "val"))
    assert whole <= 2490
    family = metaft.families.episodes("rte", ways=2, split="test", queries=2)
    tokens = family.images
    own = tokenizer.trained(parts["train"].texts)
    words = {name: own._own.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    ids = [tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]].tolist() for i in range(len(tokens))]
    assert all(row[0] == words["[CLS]"] and row[-1] == words["[SEP]"] for row in ids)
    assert {row.count(words["[SEP]"]) for row in ids} == {2}
    first, second = parts["test"].texts[0]
    middle = ids[0].index(words["[SEP]"])
    assert ids[0][: middle + 1] == own.encode((first,))[0].tolist()
    assert ids[0][middle + 1 :] == own.encode((second,))[0].tolist()[1:]
    batch = family.batch(0, 2)
    assert batch.support_x.shape[:2] == (2, 2)


def test_a_long_pair_is_cut_in_both_of_its_parts(caplog: pytest.LogCaptureFixture) -> None:
    own = tokenizer.trained(("one two three four five six seven eight",), 200)
    pair = ("one two three four five six", "seven eight")
    ids, offsets = own.encode((pair, ("one", "two")), most=8)
    assert int(offsets[1]) == 8
    assert own.decode(ids[:8].tolist()) == "one two three seven eight"
    assert own.decode(own.encode((pair[::-1],), most=8)[0].tolist()) == "seven eight one two three"
    assert own.decode(own.encode((("one two three", "four five six"),), most=7)[0].tolist()) == "one two four five"
    assert "1 text of 2 cut to the 8 words" in caplog.text


@pytest.mark.parametrize(("name", "within", "ways"), [("trec", "type", 5), ("newsgroups20", "topic", 4)])
def test_all_ways_of_one_group(name: str, within: str, ways: int, caplog: pytest.LogCaptureFixture) -> None:
    real_root(*TEXTS[name].files)
    family = metaft.families.episodes(name, ways=ways, split="test", queries=2, within=within)
    assert isinstance(family, GroupedEpisodes)
    own: tuple[str, ...] = family.images.groups  # type: ignore[attr-defined]
    groups = torch.tensor([sorted(set(own)).index(group) for group in own])
    for task in family.indices(0, 20)[:, :, 0]:
        classes = torch.searchsorted(family.images.starts, torch.from_numpy(task.copy()), right=True) - 1
        assert len(set(groups[classes].tolist())) == 1
        assert len(set(classes.tolist())) == ways
    assert f"left out, having fewer than {ways} classes: {'HUM (4)' if name == 'trec' else 'alt (1)'}" in caplog.text
    with pytest.raises(MetaftError, match=f"50 ways within one {within} asked for|50 ways asked for"):
        metaft.families.episodes(name, ways=50, split="test", queries=2, within=within)


def test_tasks_of_the_same_classes_differ_by_examples() -> None:
    real_root(*TEXTS["sst2"].files)
    family = metaft.families.episodes("sst2", ways=2, shots=4, queries=4, split="test", seed=1)
    assert family.describe()["shared_classes"] is True
    rows = family.indices(0, 8)
    assert len({tuple(task.flatten()) for task in rows}) == 8
    assert all(len(set(task.flatten().tolist())) == 16 for task in rows)
    together = metaft.families.episodes("sst2", ways=2, split="all")
    assert len(together.images) == 6916 + 872 + 1821
    with pytest.raises(MetaftError, match=r"5 ways asked for, but sst2 .test. has only 2 classes"):
        metaft.families.episodes("sst2", split="test")


def test_division_by_examples() -> None:
    texts = LabelledTexts.of({"b": [f"b {i}" for i in range(100)], "a": [f"a {i}" for i in range(50)]})
    parts = {split: by_examples(texts, split) for split in SPLITS}
    assert {split: part.counts for split, part in parts.items()} == {
        "train": (32, 64), "val": (8, 16), "test": (10, 20),
    }  # fmt: skip
    assert {part.names for part in parts.values()} == {("a", "b")}
    assert sorted(text for part in parts.values() for text in part.texts) == sorted(texts.texts)
    assert parts == {split: by_examples(texts, split) for split in SPLITS}
    assert parts["test"] != by_examples(texts, "test", seed=1)


def test_what_stands_in_val_or_test_is_not_trained_on() -> None:
    train = LabelledTexts.of({"a": ["One, two.", "three", "four"], "b": ["five", "Six!"]})
    test = LabelledTexts.of({"a": ["one two"], "b": ["seven"]})
    val = LabelledTexts.of({"a": ["eight"], "b": ["six"]})
    assert as_divided("train", train, test, val).by_class() == {"a": ["three", "four"], "b": ["five"]}
    assert as_divided("val", train, test, val).by_class() == val.by_class()
    own = {split: as_divided(split, train, test) for split in ("train", "val")}
    assert sorted(text for part in own.values() for text in part.texts) == ["Six!", "five", "four", "three"]
    pairs = LabelledTexts.of({"a": [("A b.", "c"), ("a b", "d")]})
    assert without(pairs, [("a b", "C!")]).texts == (("a b", "d"),)
    assert parts_of(("x", "y")) == ("x", "y")


def test_what_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAFT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in (*SHARED, *DIVIDED):
        first = TEXTS[name].files[0]
        with pytest.raises(MetaftError, match=f"{name} was not found under .*: no file {re.escape(first)}"):
            metaft.families.episodes(name, ways=2)
        assert catalog.DATASETS[name].where(None) is None


@pytest.mark.parametrize(
    ("name", "file", "content", "said"),
    [
        ("rte", "rte/train.tsv", b"h\n0\tpremise\tentailment\n", r"train.tsv, line 2: expected 4 cells"),
        ("rte", "rte/train.tsv", b"h\n0\ta\tb\tentail\n", r"has a class 'entail'; did you mean 'entailment'"),
        ("cr", "cr/custrev.neg", b"good\ncaf\xe9\n", r"custrev.neg is not a text file in UTF-8 \(byte 8, in line 2\)"),
        ("mr", "mr/sentence_polarity.zip", b"PK", r"sentence_polarity.zip is not a complete zip file"),
        ("ag-news", "ag_news/test.csv", b"label,title,text\n5,a,b\n", r"test.csv, line 2: expected label 1 to 4"),
        ("newsgroups20", "newsgroups20/train.jsonl.gz", b"x", r"train.jsonl.gz is not a complete gzip file"),
        ("semeval-relations", "semeval2010_task8/TRAIN_FILE.TXT", b'1\t"a"\nNo\n', r"line 2: expected a relation"),
    ],
)
def test_damaged_files_are_one_line(name: str, file: str, content: bytes, said: str, tmp_path: Path) -> None:
    for other in TEXTS[name].files:
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).write_bytes(b"")
    (tmp_path / file).write_bytes(content)
    with pytest.raises(MetaftError, match=said):
        metaft.families.episodes(name, ways=2, root=tmp_path)


def test_long_texts_are_cut_where_that_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"text": "word " * (5 + 20 * (i % 2)), "label": f"c{i % 8}"} for i in range(80)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    how = {"root": tmp_path / "t.jsonl", "ways": 2, "queries": 2, "split": "all"}
    whole = metaft.families.episodes("texts", **how)  # type: ignore[arg-type]
    assert (whole.input_shape, "max_words" in whole.describe(), caplog.text) == ((32,), False, "")
    for _ in range(2):  # computed, then out of the cache
        caplog.clear()
        cut = metaft.families.episodes("texts", max_words=8, **how)  # type: ignore[arg-type]
        assert (cut.input_shape, cut.describe()["max_words"]) == ((8,), 8)
        assert "40 texts of 80 cut to the 8 words" in caplog.text
    for wrong, said in ((3, "max_words must be a whole number of at least 4"), (True, "max_words must be")):
        with pytest.raises(MetaftError, match=said):
            metaft.families.episodes("texts", max_words=wrong, **how)  # type: ignore[arg-type]
    with pytest.raises(MetaftError, match="max_words = 8 is for texts, and glyphs has images"):
        metaft.families.episodes("glyphs", max_words=8)


def test_newsgroups_fit_into_512_places() -> None:
    real_root(*TEXTS["newsgroups20"].files)
    family = metaft.families.episodes("newsgroups20", queries=2, split="val")
    assert (family.input_shape, family.describe()["max_words"]) == ((512,), 512)
