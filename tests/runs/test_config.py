from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaft.errors import MetaftError
from metaft.settings.config import SECTIONS, RunConfig, load_config, read_toml, to_toml, validated
from metaft.tables import META_TRAINED, TABLES


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"wayz": 5}, r"unknown setting 'wayz'; did you mean 'ways'\?"),
        ({"ways": 1}, "ways = 1: should be greater than or equal to 2"),
        ({"ways": 10**12}, "ways = 1000000000000: should be less"),
        ({"ways": "five"}, "ways = five: should be a valid integer"),
        ({"ways": True}, "ways = true: should not be a boolean"),
        ({"steps": -1}, "steps = -1: should be greater than or equal to 0"),
        ({"inner_lr": 0}, "inner_lr = 0: should be greater than 0"),
        ({"outer_lr": float("nan")}, "outer_lr = nan: should be a finite number"),
        ({"outer_lr": "nan"}, "outer_lr = nan: should be a finite number"),
        ({"minutes": float("inf")}, "minutes = inf"),
        ({"schedule": "cosin"}, "schedule = cosin: should be 'constant', 'cosine' or 'linear'"),
        ({"workers": "many"}, "workers = many: should be 'auto' or a whole number"),
        ({"workers": 0}, "workers = 0"),
        ({"average": 1.0}, "average = 1.0"),
        ({"tasks": 10**6, "ways": 10**4}, "tasks = 1000000, ways = 10000.*would hold"),
        ({"iterations": 0}, "iterations = 0"),
    ],
)
def test_bad_settings_are_one_clear_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(MetaftError, match=said) as error:
        validated(RunConfig, values)
    assert "\n" not in str(error.value)


def test_every_setting_has_one_section_and_a_description() -> None:
    names = [name for kind in SECTIONS.values() for name in kind.model_fields]
    assert sorted(names) == sorted(RunConfig.model_fields)
    assert all(field.description for field in RunConfig.model_fields.values())


def test_defaults_follow_the_data_set() -> None:
    assert validated(RunConfig, {}).model == "conv4"
    waves = validated(RunConfig, {"dataset": "sinusoid"})
    assert (waves.model, waves.shots, waves.inner_lr, waves.iterations) == ("mlp", 10, 0.01, 70_000)
    assert validated(RunConfig, {"dataset": "sinusoid", "shots": 5}).shots == 5
    assert validated(RunConfig, {"minutes": 2}).iterations is None
    assert validated(RunConfig, {"dataset": "sinusoid", "minutes": 2}).iterations is None
    assert validated(RunConfig, {}).iterations == 1000
    assert validated(RunConfig, {"dataset": "intents"}).engine == "eager"  # layers are packed there
    assert validated(RunConfig, {"dataset": "intents", "engine": "compile"}).engine == "compile"
    assert validated(RunConfig, {}).engine == "compile"


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("seed = 3\n[family]\nways = 20\nshots = 5\n[learner]\ninner_lr = 0.1\n")
    config = load_config(file, {"shots": "1", "ways": None})
    assert (config.seed, config.ways, config.shots, config.inner_lr) == (3, 20, 1, 0.1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[famly]\nways = 5", r"unknown section \[famly\]; did you mean 'family'"),
        ("[family]\nwas = 5", "unknown setting 'was'; did you mean 'ways'"),
        ("[train]\nways = 5", r"'ways' belongs under \[family\], not \[train\]"),
        ("ways = 5\n[family]\nways = 6", "'ways' is given twice"),
        ("ways = ", "not valid TOML"),
        ("\udcff", "not valid TOML"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(MetaftError, match=said):
        read_toml(file)
    with pytest.raises(MetaftError, match="cannot read config"):
        read_toml(tmp_path / "absent.toml")


@given(
    root=st.text(st.characters(codec="utf-8"), max_size=20),
    lr=st.floats(1e-300, 1e3, exclude_min=True),
    average=st.floats(0, 1, exclude_max=True),
    ways=st.integers(2, 50),
    rotations=st.booleans(),
)
def test_toml_round_trip(root: str, lr: float, average: float, ways: int, rotations: bool) -> None:
    config = validated(
        RunConfig,
        {"data_root": root, "outer_lr": lr, "average": average, "ways": ways, "rotations": rotations},
    )
    tree = tomllib.loads(to_toml(config))
    flat = {name: value for section in tree.values() for name, value in section.items()}
    assert validated(RunConfig, flat) == config


@pytest.mark.parametrize(
    ("setting", "table"),
    [
        ("memory", "metaft.outer.problem:MEMORY"),
        ("engine", "metaft.outer.problem:ENGINES"),
    ],
)
def test_settings_offer_exactly_what_the_tables_hold(setting: str, table: str) -> None:
    module, name = table.split(":")
    offered = re.findall(r"'([^']+)'", str(RunConfig.model_fields[setting].annotation))
    assert sorted(offered) == sorted(getattr(import_module(module), name))


@pytest.mark.parametrize("name", ["learner", "rule", "objective", "estimator"])
def test_help_names_all_that_a_table_holds(name: str) -> None:
    table = META_TRAINED if name == "learner" else TABLES[name]
    said = re.findall(r"[\w+-]+", str(RunConfig.model_fields[name].description))
    assert set(table) <= set(said)


def test_ranges_of_ways_and_shots() -> None:
    config = validated(RunConfig, {"ways": "3-7", "shots": "1 - 5"})
    assert (config.fewest_ways, config.ways, config.fewest_shots, config.shots) == (3, 7, 1, 5)
    flat = {k: v for section in tomllib.loads(to_toml(config)).values() for k, v in section.items()}
    assert validated(RunConfig, flat) == config
    assert validated(RunConfig, {"ways": "6"}).fewest_ways is None
    for values, said in (
        ({"ways": "7-3"}, "ways = 7-3: a range should rise"),
        ({"ways": "1-3"}, "fewest_ways = 1: should be greater than or equal to 2"),
        ({"shots": "0-3"}, "fewest_shots = 0"),
        ({"dataset": "sinusoid", "shots": "1-3"}, "a regression .sinusoid. takes one number"),
        ({"ways": "3-"}, "ways = 3-: should be a valid integer"),
        ({"colours": "gray"}, "colours = gray: should be 'grey' or 'rgb'"),
        ({"widths": "with"}, "widths = with: should be 'wide' or 'doubling'"),
    ):
        with pytest.raises(MetaftError, match=said):
            validated(RunConfig, values)


def test_options_behind_a_name_override_a_files_setting_by_setting(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        'dataset = "omniglot"\nscheme = "alphabets"\nimage_size = 28\nlearner = "maml"\nsteps = 5\ninner_lr = 0.3\n'
        'outer_lr = 0.002\nschedule = "cosine"\n'
    )
    asked = {"dataset": "omniglot:scheme=vinyals", "learner": "anil:steps=2", "outer": "sgd:lr=0.5"}
    config = load_config(file, asked)
    assert (config.dataset, config.scheme, config.image_size) == ("omniglot", "vinyals", 28)
    assert (config.learner, config.steps, config.inner_lr) == ("anil", 2, 0.3)
    assert (config.outer, config.outer_lr, config.schedule) == ("sgd", 0.5, "cosine")
    assert load_config(file, {"outer_lr": 0.1}).outer_lr == 0.1
    file.write_text('dataset = "omniglot:scheme=vinyals"\nouter = "sgd:lr=0.5"\n')
    config = load_config(file, {"scheme": "alphabets", "outer_lr": 0.25})
    assert (config.scheme, config.outer, config.outer_lr) == ("alphabets", "sgd", 0.25)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"dataset": "omniglot:scheme=vinyals", "scheme": "alphabets"},
            "scheme = alphabets: dataset = omniglot",
        ),
        ({"outer": "sgd:lr=0.5", "outer_lr": 0.1}, "outer_lr = 0.1: outer = sgd:lr=0.5 says 0.5"),
        ({"learner": "maml:steps=3", "steps": 2}, "steps = 2: learner = maml:steps=3 says 3"),
    ],
)
def test_what_is_said_twice_is_said_alike(given: dict[str, Any], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        validated(RunConfig, given)
    alike = {
        name: {"scheme": "vinyals", "outer_lr": "5e-1", "steps": "3"}.get(name, value) for name, value in given.items()
    }
    validated(RunConfig, alike)


def test_a_learner_that_was_called_otherwise_is_still_found() -> None:
    """A language model that reads its prompt has the name now."""
    config = validated(RunConfig, {"learner": "in-context:layers=1"})
    assert config.learner.startswith("in-context-transformer:layers=1")
    assert config.default_name == "glyphs-in-context-transformer"
    assert validated(RunConfig, {"learner": "in-context-transformer"}).learner.startswith("in-context-transformer")
