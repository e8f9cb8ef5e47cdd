"""Texts as numbers of words: the built-in data set, tokenizers, packing, and tasks drawn from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import metaft
from metaft.cli import cli
from metaft.data.splits import SPLITS
from metaft.data.texts import intents, tokenizer
from metaft.data.texts.labelled_texts import LENGTHS, LabelledTexts, padded_length
from metaft.errors import MetaftError
from metaft.tasks.grouped import GroupedEpisodes

FEW = LabelledTexts(("a b", "c", "d e f", "g"), (2, 2), ("one", "two"), ("x", "y"))


def test_intents_are_the_published_ones_without_repeats(tmp_path: Path) -> None:
    parts = {split: intents.load(split) for split in SPLITS}
    assert [len(part.names) for part in parts.values()] == [75, 30, 45]
    assert sum(len(part.texts) for part in parts.values()) == 22_473
    assert {name.partition("/")[0] for name in parts["test"].names} == {"banking", "kitchen_and_dining", "travel"}
    names = [name for part in parts.values() for name in part.names]
    assert len(set(names)) == 150
    random = {split: set(intents.load(split, scheme="random", split_seed=1).names) for split in SPLITS}
    assert [len(own) for own in random.values()] == [96, 24, 30]
    assert set.union(*random.values()) == set(names)
    with pytest.raises(MetaftError, match="unknown scheme 'domain' of intents; did you mean 'domains'"):
        intents.load("train", scheme="domain")


def test_a_tokenizer_is_the_same_every_time_and_gives_the_words_back() -> None:
    texts = intents.load("train").texts
    first = tokenizer.trained(texts, 1000)
    train = tokenizer.TRAINED["wordpiece"][0]
    assert train(texts, 1000) == first.text == train(texts, 1000)
    assert first.vocabulary == 1000
    ids, offsets = first.encode(("What is my balance", "zebra"))
    assert first.decode(ids[: offsets[1]].tolist()) == "what is my balance"
    words = json.loads(first.text)["model"]["vocab"]
    assert (ids[0], ids[offsets[1] - 1]) == (words["[CLS]"], words["[SEP]"])
    assert words["[PAD]"] == 0
    assert int(ids.min()) > 0
    assert "[UNK]" not in first.decode(first.encode(("balance",))[0].tolist())


def test_a_long_text_is_cut_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    own = tokenizer.trained(intents.load("train").texts, 1000)
    whole, _ = own.encode(("what is my balance",))
    cut, offsets = own.encode(("what is my balance", "hi"), most=4)
    assert int(offsets[1]) == 4
    assert cut[:4].tolist() == [*whole[:3].tolist(), int(whole[-1])]
    assert "1 text of 2 cut to the 4 words" in caplog.text


def test_texts_are_packed_and_padded_to_few_lengths() -> None:
    tokens = tokenizer.tokenised(FEW, tokenizer.trained(FEW.texts, 100))
    assert tokens.ids.dtype == torch.int32
    assert int(tokens.ids.min()) > 0
    taken = tokens.take(torch.tensor([[2, 1]]))
    assert taken.shape == (1, 2, 8)
    assert taken.dtype == torch.int64
    assert (taken[0, 0] != 0).sum() == tokens.lengths[2] == 5
    assert torch.equal(taken[0, 0, :5].int(), tokens.ids[tokens.offsets[2] : tokens.offsets[3]])
    assert [padded_length(n) for n in (0, 8, 9, 4096, 5000)] == [LENGTHS[0], 8, 16, 4096, 5000]
    support, query = tokens.take_apart(torch.tensor([[0, 1, 2]]), 1)
    assert support.shape[-1] == query.shape[-1]


def test_tasks_of_texts_are_reproducible_and_apart() -> None:
    family = metaft.families.episodes("intents", ways=5, shots=2, queries=3, split="test")
    one, again = family.batch(3, 4), family.batch(3, 4)
    assert all(torch.equal(a, b) for a, b in zip(one.tensors(), again.tensors(), strict=True))
    assert one.support_x.shape[:2] == (4, 10)
    assert one.example_layout == "sequences"
    rows = family.indices(3, 4)
    assert len(set(rows[0].flatten().tolist())) == 25
    told = family.describe()
    assert (told["tokenizer"], told["vocabulary"], told["scheme"]) == ("wordpiece:size=4096", 4096, "domains")


def test_all_ways_of_a_task_come_from_one_domain() -> None:
    family = metaft.families.episodes("intents", ways=5, queries=2, split="test", within="domain")
    assert isinstance(family, GroupedEpisodes)
    starts = family.images.starts
    seen = set()
    for task in family.indices(0, 60)[:, :, 0]:
        classes = torch.searchsorted(starts, torch.from_numpy(task.copy()), right=True) - 1
        domains = {family.images.names[c].partition("/")[0] for c in classes.tolist()}
        assert len(domains) == 1
        assert len(set(classes.tolist())) == 5
        seen |= domains
    assert seen == {"banking", "kitchen_and_dining", "travel"}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"within": "topic"}, "the classes of intents have no topic; it has 'domain'"),
        ({"within": "domain", "ways": 16}, "16 ways within one domain asked for, but"),
        ({"tokenizer": "wordpeace"}, "unknown tokenizer 'wordpeace'; did you mean 'wordpiece'"),
        ({"tokenizer": "wordpiece:8"}, "expected wordpiece or wordpiece:size=4096"),
        ({"channels": 3}, "are of images, and intents has texts"),
        ({"rotation": True}, "unknown option 'rotation' of data set intents"),
        ({"dataset": "glyphs", "within": "domain"}, "within = 'domain' is for texts, and glyphs has images"),
    ],
)
def test_what_does_not_fit_is_one_line(how: dict[str, object], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        metaft.families.episodes(**{"dataset": "intents", **how})  # type: ignore[arg-type]


def test_a_file_that_is_no_tokenizer_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MetaftError, match="is not a tokenizer"):
        tokenizer.of_file(tmp_path)
    with pytest.raises(MetaftError, match="cannot read tokenizer"):
        tokenizer.of_file(tmp_path / "none")
    own = json.loads(tokenizer.trained(FEW.texts, 100).text)
    own["model"]["vocab"] |= {"[PAD]": 1, "[UNK]": 0}
    own["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(own))
    with pytest.raises(MetaftError, match="stands for padding"):
        tokenizer.of_file(tmp_path)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"texts": ("a", " ", "c", "d")}, "text 1 .of class 'one'. is empty"),
        ({"counts": (1, 2)}, "do not fit together"),
        ({"names": ("one", "one")}, "unique"),
        ({"groups": ("x",)}, "1 groups for 2 classes"),
    ],
)
def test_labelled_texts_that_do_not_fit(parts: dict[str, object], said: str) -> None:
    whole = {"texts": FEW.texts, "counts": FEW.counts, "names": FEW.names, "groups": FEW.groups}
    with pytest.raises(MetaftError, match=said):
        LabelledTexts(**{**whole, **parts})  # type: ignore[arg-type]


def test_it_runs_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["--iterations", "2", "--tasks", "2", "--validate-tasks", "2", "--queries", "2", "--quiet", "--workers", "1"]
    few += ["--engine", "eager"]
    words = ["--dataset", "intents:within=domain", "--model", "transformer:layers=1,width=8,heads=2", *few]
    for learner in ("maml", "protonet", "proto-maml"):
        done = CliRunner().invoke(cli, ["meta-train", *words, "--learner", learner, "--out", learner])
        assert done.exit_code == 0, done.output
        config = (tmp_path / learner / "config.toml").read_text()
        assert 'dataset = "intents"' in config
        assert 'within = "domain"' in config
        scored = CliRunner().invoke(cli, ["evaluate", learner, "--tasks", "2"])
        assert scored.exit_code == 0, scored.output
    for options, said in {
        "intents:scheme=domain": "unknown scheme 'domain'",
        "intents:rotation=1": "data set 'intents' has no option 'rotation'; known: scheme, split_seed",
        "intents:within=topic": "have no topic; it has 'domain'",
    }.items():
        done = CliRunner().invoke(cli, ["meta-train", *words[2:], "--dataset", options, "--out", "other"])
        assert (done.exit_code, said in done.stderr) == (2, True), done.output
    raw = CliRunner().invoke(cli, ["compare", "nearest-neighbour", *words[:2], "--tasks", "2", "--out", "raw"])
    assert (raw.exit_code, "numbers of words, which are not near or far" in raw.stderr) == (2, True), raw.output
    scored = CliRunner().invoke(cli, ["evaluate", "maml", "--dataset", "intents:within=domain", "--tasks", "2"])
    assert scored.exit_code == 0, scored.output
    backed = ["compare", "./protonet", "class-means:backbone=protonet", "fine-tuning:backbone=protonet,steps=1"]
    compared = CliRunner().invoke(cli, [*backed, *words[:2], "--tasks", "2", "--seeds", "1", "--out", "compared"])
    assert compared.exit_code == 0, compared.output
    plain = ["--dataset", "intents", *words[2:], "--learner", "protonet", "--out", "plain"]
    assert CliRunner().invoke(cli, ["meta-train", *plain]).exit_code == 0
    for more, said in {
        ("--scheme", "random"): "the same numbers are other words",
        ("--dataset", "glyphs"): "was trained on texts, and these tasks have no texts",
    }.items():
        done = CliRunner().invoke(cli, ["evaluate", "plain", "--tasks", "2", *more])
        assert (done.exit_code, said in done.stderr) == (2, True), done.output


def test_a_classifier_of_texts_is_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--dataset", "intents", "--tasks", "2", "--queries", "2"]
    small = ["--model", "transformer:layers=1,width=8,heads=2", "--iterations", "2", "--batch-size", "4", "--quiet"]
    done = CliRunner().invoke(cli, ["pretrain", *words[:2], *small, "--validate-tasks", "2", "--out", "run"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run/tokenizer.json").exists()
    made = ["compare", "class-means:backbone=run", *words, "--seeds", "1", "--out", "compared"]
    assert CliRunner().invoke(cli, made).exit_code == 0
    fewer = ["--tokenizer", "wordpiece:size=900", "--validate-tasks", "2", "--out", "fewer"]
    assert CliRunner().invoke(cli, ["pretrain", *words[:2], *small, *fewer]).exit_code == 0
    made = ["compare", "class-means:backbone=fewer", *words, "--tokenizer", "fewer", "--seeds", "1", "--out", "again"]
    done = CliRunner().invoke(cli, made)
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(cli, [*made[:6], "--seeds", "1", "--out", "other"])
    assert (done.exit_code, "the same numbers are other words" in done.stderr) == (2, True), done.output
    done = CliRunner().invoke(cli, ["pretrain", *words[:2], *small, "--shift", "1", "--out", "other"])
    assert (done.exit_code, "these are no images, and cannot be moved" in done.stderr) == (2, True), done.output
