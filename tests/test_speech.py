"""Messages in Python speak Python; on the command line they speak of flags."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import metaft
from metaft.cli import cli
from metaft.errors import MetaftError
from metaft.runs.contents import Contents
from metaft.speech import command_line, spoken


@pytest.mark.parametrize(
    ("message", "python"),
    [
        ("ask for --ways 3 or fewer", "ask for ways=3 or fewer"),
        ("give --resume to go on with it, --overwrite to replace it, or another --out",
         "give resume=True to go on with it, overwrite=True to replace it, or another out"),
        ("leave such classes out (--min-examples 4)", "leave such classes out (min_examples=4)"),
        ("give it as --data-root PATH", "give it as root=PATH"),
        ("use --tokenizer hf:minilm, and --split all", "use tokenizer='hf:minilm', and split='all'"),
        ("with --no-curves, or --no-rotations", "with curves=False, or rotations=False"),
        ("try a smaller rate or --clip", "try a smaller rate or clip"),
        ("go on with: metaft sweep --resume --out runs/x", "go on with: metaft sweep --resume --out runs/x"),
        ("compare … (metaft compare … --split all --ways 3), or ask for --ways 2",
         "compare … (metaft compare … --split all --ways 3), or ask for ways=2"),
        ("pip install --no-deps gguf==0.19", "pip install --no-deps gguf==0.19"),
        ("a file a--b, one -- two", "a file a--b, one -- two"),
    ],
)  # fmt: skip
def test_flags_are_told_as_arguments(message: str, python: str) -> None:
    assert spoken(message) == str(MetaftError(message)) == python
    with command_line():
        assert str(MetaftError(message)) == message
    assert spoken(message) == python


def test_what_python_and_the_command_line_say_of_one_mistake(tmp_path: Path) -> None:
    with pytest.raises(MetaftError) as told:
        metaft.families.episodes("folder", split="test", seed=0)
    assert "give it as root=PATH" in str(told.value)
    done = CliRunner().invoke(cli, ["compare", "nearest-neighbour", "--dataset", "folder"])
    assert "give it as --data-root PATH" in done.stderr
    (tmp_path / "run.json").touch()
    contents = Contents("run", "run.json", ("run.json",), is_ours=lambda _: True, is_free=lambda _: False)
    with pytest.raises(MetaftError, match="give resume=True to go on with it, overwrite=True to replace it"):
        contents.check(tmp_path, resume=False)
