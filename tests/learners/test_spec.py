from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from metaft.errors import MetaftError
from metaft.learners import build, needs_model, options
from metaft.learners.spec import labels, parse, read_numbers, read_seeds
from metaft.tables import LEARNERS


def test_a_name_with_options() -> None:
    spec = parse("nearest-neighbour:metric=cosine,k=3,label=NN")
    assert (spec.kind, spec.target, spec.label) == ("table", "nearest-neighbour", "NN")
    assert spec.options == {"metric": "cosine", "k": "3"}


def test_commas_and_colons_inside_a_value() -> None:
    spec = parse("fine-tuning:scope=first:2,!head,batch-norm=running")
    assert spec.options == {"scope": "first:2,!head", "batch_norm": "running"}


def test_runs_and_import_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "om").mkdir()
    assert parse("om:steps=3").kind == "run"
    assert parse("runs/absent").kind == "run"
    own = parse("my.own:Learner:rate=2,steps=1")
    assert (own.kind, own.target, own.options) == ("import", "my.own:Learner", {"rate": "2", "steps": "1"})


def test_the_seed_is_filled_in_everywhere() -> None:
    spec = parse("maml:backbone=runs/pre-{seed},steps=2").at(7)
    assert spec.options["backbone"] == "runs/pre-7"
    assert "{seed}" not in spec.text
    assert parse("runs/om-{seed}").at(3).target == "runs/om-3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nearest-neighbor", "unknown learner 'nearest-neighbor'; did you mean 'nearest-neighbour'?"),
        ("quite-else", "known: "),
        ("nearest-neighbour:cosine", "expected name:option=value"),
        ("nearest-neighbour:k=1,k=2", "'k' is given twice"),
        ("nearest-neighbour:=2", "expected name:option=value"),
    ],
)
def test_malformed_learners(text: str, said: str) -> None:
    with pytest.raises(MetaftError, match="learner") as error:
        parse(text)
    assert said in str(error.value)


def test_labels_are_short_and_different() -> None:
    texts = ["nearest-neighbour", "nearest-neighbour:metric=cosine,k=3", "nearest-neighbour:metric=cosine,k=5",
             "a/om-{seed}", "b/om-{seed}", "runs/waves_{seed}", "x.y:Mine", "maml:label=mine,steps=2"]  # fmt: skip
    assert labels([parse(text) for text in texts]) == [
        "nearest-neighbour",
        "nearest-neighbour (metric=cosine, k=3)",
        "nearest-neighbour (metric=cosine, k=5)",
        "a/om-{seed}",
        "b/om-{seed}",
        "waves",
        "Mine",
        "mine",
    ]


@pytest.mark.parametrize("texts", [["maml", "maml"], ["maml:label=a", "fomaml:label=a"]])
def test_two_learners_of_one_label_are_refused(texts: list[str]) -> None:
    with pytest.raises(MetaftError, match="given twice"):
        labels([parse(text) for text in texts])


def test_seeds_and_numbers() -> None:
    assert read_seeds("3") == (0, 1, 2)
    assert read_seeds("5,1") == (5, 1)
    assert read_seeds("7,") == (7,)
    assert read_numbers("shots", "1,5,10", 1) == (1, 5, 10)
    for text in ("", "x", "-1", "0,0", "1.5", "0", "99999"):
        with pytest.raises(MetaftError, match="seeds"):
            read_seeds(text)
    with pytest.raises(MetaftError, match="shots"):
        read_numbers("shots", "0,1", 1)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_builder_tells_its_options(name: str) -> None:
    for option, parameter in options(LEARNERS[name]).items():
        assert option.isidentifier()
        assert parameter.default is not inspect.Parameter.empty, f"{name}: {option} has no default"
        assert not isinstance(parameter.annotation, str), f"{name}: {option}'s annotation was not resolved"
    with pytest.raises(MetaftError, match="no option 'no_such_option'"):
        build(name, None, no_such_option="1")
    if needs_model(LEARNERS[name]):
        with pytest.raises(MetaftError, match="needs a network"):
            build(name)


def test_text_is_converted_by_annotation() -> None:
    assert build("nearest-neighbour", k="3").describe()["k"] == 3
    with pytest.raises(MetaftError, match="k = three: should be a valid integer"):
        build("nearest-neighbour", k="three")
    with pytest.raises(MetaftError, match="did you mean 'maml'"):
        build("mmal")
