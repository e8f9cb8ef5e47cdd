from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from metaft.commands.sweep.grid import read_grid, with_options
from metaft.errors import MetaftError
from metaft.runs.recorded import command_words, option_words
from metaft.settings.config import RunConfig

TRAIN = """
command = "meta-train"
seeds = [0, 5]
[base]
dataset = "sinusoid"
iterations = 3
[grid]
inner_lr = [0.1, 0.01]
steps = [1, 2, 3]
"""
VALIDATE = """
command = "validate"
learner = "nearest-neighbour:metric=cosine"
[base]
dataset = "glyphs"
[grid]
k = [1, 3]
"""


def grid(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "grid.toml"
    file.write_text(text)
    return file


def test_a_grid_is_the_product_of_its_lists_and_seeds(tmp_path: Path) -> None:
    members = read_grid(grid(tmp_path, TRAIN)).members
    found = [(m.settings["inner_lr"], m.settings["steps"], m.settings["seed"]) for m in members]
    assert found == list(product([0.1, 0.01], [1, 2, 3], [0, 5]))
    assert [m.setting for m in members] == [i for i in range(6) for _ in range(2)]
    assert all(m.settings["iterations"] == 3 and m.settings["workers"] == 1 for m in members)
    assert members[0].name == "inner_lr=0.1+steps=1+seed=0"
    assert len({m.name for m in members}) == 12


def test_seeds_can_be_a_count_and_base_a_file(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('[family]\ndataset = "sinusoid"\n[train]\ntasks = 7\niterations = 9\n')
    text = 'seeds = 3\n[base]\nconfig = "base.toml"\niterations = 4\n[base.learner]\nsteps = 2\n'
    members = read_grid(grid(tmp_path, text)).members
    assert [m.seed for m in members] == [0, 1, 2]
    settings = members[0].settings
    assert (settings["tasks"], settings["iterations"], settings["steps"]) == (7, 4, 2)


def test_the_grid_overrides_the_file_that_base_names(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('[family]\ndataset = "sinusoid"\n[learner]\nsteps = 9\ninner_lr = 0.5\n')
    text = '[base]\nconfig = "base.toml"\niterations = 4\n[grid]\nsteps = [1, 2]\n'
    found = [(m.settings["steps"], m.settings["inner_lr"]) for m in read_grid(grid(tmp_path, text)).members]
    assert found == [(1, 0.5), (2, 0.5)]
    with pytest.raises(MetaftError, match="iterations stands in"):
        read_grid(grid(tmp_path, f"{text}iterations = [1, 2]\n"))


def test_a_learners_options_vary(tmp_path: Path) -> None:
    text = VALIDATE.replace("metric=cosine", "metric=cosine,label=x").replace("[base]", "seeds = 2\n[base]")
    found = read_grid(grid(tmp_path, text)).members
    spec = "nearest-neighbour:metric=cosine,label=x,k="
    assert [m.learner for m in found] == [f"{spec}{k}" for k in (1, 1, 3, 3)]
    assert with_options("runs/om-{seed}", {"steps": 3}) == "runs/om-{seed}:steps=3"
    assert with_options("nearest-neighbour", {}) == "nearest-neighbour"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("seeds = [0, 5]", 'split = "test"'), "no split"),
        (("iterations = 3", 'iterations = 3\nsplit = "test"'), "no split"),
        (("steps = [1, 2, 3]", 'split = ["test"]'), "no split"),
        (("meta-train", "meta-trian"), "did you mean 'meta-train'?"),
        (("meta-train", "evaluate"), "command = 'evaluate'; did you mean 'validate'?"),
        (("seeds = [0, 5]", "seeds = [0, 0]"), "seeds = [0, 0]: should be different"),
        (("seeds = [0, 5]", "seeds = true"), "seeds = True"),
        (("seeds = [0, 5]", "seed = 3"), "unknown entry 'seed'; did you mean 'seeds'?"),
        (("iterations = 3", "seed = 3"), "seeds stand at the top"),
        (("iterations = 3", "iteratoins = 3"), "unknown setting 'iteratoins'; did you mean 'iterations'?"),
        (("steps = [1, 2, 3]", "steps = 1"), "[grid] steps = 1: should be a list"),
        (("steps = [1, 2, 3]", "steps = []"), "should be a list"),
        (("steps = [1, 2, 3]", "steps = [1, 1]"), "a value stands there twice"),
        (("steps = [1, 2, 3]", "steps = [1, -2]"), "steps = -2: should be greater"),
        (("steps = [1, 2, 3]", "iterations = [1, 2]"), "iterations stands in [base] and in [grid]"),
        (("[grid]", "grids = 1\n[grid]"), "unknown setting 'grids'"),
        (("steps = [1, 2, 3]", "steps = [1, 2, 3"), "not valid TOML"),
        (("steps = [1, 2, 3]", f"steps = [{'9' * 5000}]"), "not valid TOML"),
        (("seeds = [0, 5]", 'learner = "maml"'), "learner belongs under [base] or [grid]"),
        (("seeds = [0, 5]", "seeds = 9999"), "members, more than 10,000"),
    ],
)
def test_a_bad_grid_is_one_line(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    assert change[0] in TRAIN
    with pytest.raises(MetaftError) as error:
        read_grid(grid(tmp_path, TRAIN.replace(*change)))
    assert said in error.value.message
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("nearest-neighbour:", "nearest-neighbor:"), "did you mean 'nearest-neighbour'?"),
        (("k = [1, 3]", "kk = [1, 3]"), "has no option 'kk'"),
        (("k = [1, 3]", 'metric = ["euclidean"]'), "option metric stands in learner"),
        (("k = [1, 3]", 'k = ["many"]'), "k = many"),
        (('dataset = "glyphs"', "inner_lr = 3"), "says nothing about validation tasks"),
        (('dataset = "glyphs"', 'split = "test"'), "no split"),
        (("k = [1, 3]", 'split = ["test"]'), "no split"),
        (("k = [1, 3]", '"k=1,label" = ["x"]'), "[grid] 'k=1,label': should be the name of an option"),
        (('learner = "nearest-neighbour:metric=cosine"', ""), "needs learner ="),
    ],
)
def test_a_bad_learner_is_one_line(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    assert change[0] in VALIDATE
    with pytest.raises(MetaftError) as error:
        read_grid(grid(tmp_path, VALIDATE.replace(*change)))
    assert said in error.value.message


def test_names_of_members_are_safe_file_names(tmp_path: Path) -> None:
    text = TRAIN.replace("steps = [1, 2, 3]", f'scope = ["../../etc", "a,b:c*", "{"x" * 300}"]')
    for member in read_grid(grid(tmp_path, text)).members:
        assert "/" not in member.name
        assert not set(member.name) & set(",:*{} ")
        assert len(member.name) < 150
        assert member.name.endswith(f"+seed={member.seed}")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"dataset": "sinusoid"},
        {"dataset": "sinusoid", "iterations": 70_000, "seed": 3},
        {"minutes": 2.5, "rotations": False, "diagnose": True, "scope": "head,biases"},
        {"estimator": "implicit", "clip": 1e-5, "workers": 2, "iterations": 10},
    ],
)
def test_a_command_line_gives_its_settings_again(
    given: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metaft.cli.meta_train import command

    monkeypatch.chdir(tmp_path)
    config = RunConfig(**given)
    words = command_words(config)
    assert command.make_context("meta-train", words[1:]).params["run"].config == config
    assert len(words) <= 1 + 2 * len(given)


def test_options_as_words() -> None:
    assert option_words("rotations", False) == ["--no-rotations"]
    assert option_words("inner_lr", 0.5) == ["--inner-lr", "0.5"]
    assert option_words("clip", None) == []
