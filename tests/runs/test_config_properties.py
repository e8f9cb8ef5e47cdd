"""Settings of any kind: a sound file is read back equal, any other is refused in one line."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaft.errors import MetaftError
from metaft.settings.config import RunConfig, load_config, to_toml, validated

NUMBERS = st.one_of(st.integers(), st.floats(), st.integers(1, 100), st.floats(0, 1))
WORDS = st.one_of(st.text(max_size=20), st.sampled_from(["sinusoid", "adam", "cosine", "auto", "cpu", "1e3", "nan"]))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(NUMBERS, WORDS, st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
NAMES = st.one_of(st.sampled_from(sorted(RunConfig.model_fields)), st.text(max_size=12))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "c.toml"


@settings(max_examples=300, deadline=None)
@given(values=st.dictionaries(NAMES, VALUES, max_size=6))
def test_settings_are_taken_and_read_back_equal_or_refused(file: Path, values: dict[str, Any]) -> None:
    try:
        config = validated(RunConfig, values)
    except MetaftError:
        return
    file.write_text(to_toml(config), encoding="utf-8")
    assert load_config(file) == config


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_settings_or_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with contextlib.suppress(MetaftError):
        load_config(file)
