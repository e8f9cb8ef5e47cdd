"""All settings of a run, printed: as a file that makes the same run, and as what such a file may hold."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from metaft.cli import cli
from metaft.configs import FOLDER, NAMES
from metaft.settings.config import RunConfig, load_config
from metaft.settings.distill import DistillConfig
from metaft.settings.pretrain import PretrainConfig

KINDS = (RunConfig, PretrainConfig, DistillConfig)


def run(*words: str) -> str:
    done = CliRunner().invoke(cli, [*words])
    assert done.exit_code == 0, done.output
    return done.stdout


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """As much of JSON Schema as these schemas use."""
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None), "object": dict}
    if "anyOf" in schema and not any(fits(value, one) for one in schema["anyOf"]):
        return False
    is_flag, kind = isinstance(value, bool), schema.get("type")
    if kind and not (isinstance(value, kinds[kind]) and (kind == "boolean") == is_flag):
        return False
    if isinstance(value, dict):
        known = schema["properties"]
        return all(name in known and fits(entry, known[name]) for name, entry in value.items())
    if isinstance(value, str):
        return value in schema.get("enum", [value]) and bool(re.search(schema.get("pattern", ""), value))
    if is_flag or value is None:
        return True
    above = value >= schema.get("minimum", value) and value > schema.get("exclusiveMinimum", -float("inf"))
    return above and value <= schema.get("maximum", value) and value < schema.get("exclusiveMaximum", float("inf"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_printed_makes_the_same_run(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "own.toml"
    printed = run(kind.command, "--seed", "7", "--print-config")
    assert list(tmp_path.iterdir()) == []
    file.write_text(printed)
    config = load_config(str(file), {}, kind)
    assert config.seed == 7
    assert config == load_config(None, {"seed": 7}, kind)
    assert run(kind.command, "--config", str(file), "--print-config") == printed


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_takes_what_is_printed_and_tells_mistakes(kind: Any) -> None:
    schema = json.loads(run(kind.command, "--print-schema"))
    held = tomllib.loads(run(kind.command, "--print-config"))
    assert fits(held, schema)
    settings = [name for table in kind.sections for name in schema["properties"][table]["properties"]]
    assert sorted(settings) == sorted(kind.model_fields)  # each under one heading
    assert all(schema["properties"][name]["description"] for name in settings)
    section = next(name for name, table in held.items() if "log_every" in table)
    for wrong in ({"log_evry": 1}, {"log_every": "x"}, {"log_every": 0}, {"schedule": "none"}):
        assert not fits({**held, section: {**held[section], **wrong}}, schema)


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_takes_what_comes_with_metaft(name: str) -> None:
    schema = json.loads(run("meta-train", "--print-schema"))
    assert fits(tomllib.loads((FOLDER / f"{name}.toml").read_text()), schema)
    assert fits({"ways": "3-7", "family": {"shots": "1-5"}}, schema)
    assert not fits({"ways": "3 to 7"}, schema)
