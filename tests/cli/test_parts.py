"""``metaft parts``: every table is shown, every part has a sentence, every option a help text."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from metaft.cli import cli
from metaft.parts import Table
from metaft.tables import TABLES

PARTS = [(kind, name) for kind, table in TABLES.items() for name in table]


def test_all_tables_are_listed() -> None:
    done = CliRunner().invoke(cli, ["parts"])
    assert done.exit_code == 0, done.output
    for kind, name in PARTS:
        assert f"{kind}: " in done.stdout
        assert name in done.stdout


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_a_part_tells_what_it_is_and_what_it_can_be_told(kind: str, name: str) -> None:
    table = TABLES[kind]
    assert len(table.summary(name)) > 10
    silent = [option.name for option in table.options(name).values() if not option.help]
    assert not silent
    done = CliRunner().invoke(cli, ["parts", kind, name])
    assert done.exit_code == 0, done.output
    assert all(option in done.stdout for option in table.options(name))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rul"], "did you mean 'rule'"),
        (["rule", "adma"], "did you mean 'adam'"),
        (["rule", "adam:x=1"], "unknown rule"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, ["parts", *words])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr


def test_a_name_costs_no_import() -> None:
    table: Table[object] = Table("thing", "things", {"one": "no.such.module:Thing"})
    assert list(table) == ["one"]
    assert "one" in table
    with pytest.raises(ModuleNotFoundError):
        table["one"]
