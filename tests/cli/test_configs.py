"""The settings that come with the package: found by name, from anywhere, and by the experiments."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from metaft.cli import cli
from metaft.configs import FOLDER, NAMES, find_config
from metaft.errors import MetaftError
from metaft.settings.config import load_config

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.parametrize("name", NAMES)
def test_each_is_complete_and_the_experiment_reads_the_same(name: str) -> None:
    config = load_config(find_config(name))
    assert (EXPERIMENTS / f"{name}.toml").samefile(FOLDER / f"{name}.toml")
    assert config.minutes is not None or config.iterations is not None


def test_a_name_a_path_and_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(None) is None
    assert find_config("omniglot") == str(FOLDER / "omniglot.toml")
    for path in ("omniglot.toml", "folder/omniglot", "./omniglot"):
        assert find_config(path) == path
    Path("omniglot").write_text("ways = 3\n")
    assert load_config(find_config("omniglot")).ways == 3


def test_an_unknown_name_is_one_line() -> None:
    with pytest.raises(MetaftError, match=r"unknown config 'omniglott'.*did you mean 'omniglot'"):
        find_config("omniglott")
    done = CliRunner().invoke(cli, ["meta-train", "--config", "glyps"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "did you mean 'glyphs'" in done.stderr


def test_help_names_them() -> None:
    words = " ".join(CliRunner().invoke(cli, ["meta-train", "--help"]).stdout.split())
    assert ", ".join(NAMES) in words


def test_a_run_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--iterations", "2", "--engine", "eager", "--tasks", "2", "--validate-tasks", "2", "--quiet"]
    done = CliRunner().invoke(cli, ["meta-train", "--config", "sinusoid", *quick, "--out", "run"])
    assert done.exit_code == 0, done.output
    config = load_config("run/config.toml")
    assert (config.dataset, config.iterations, config.log_every) == ("sinusoid", 2, 1000)
