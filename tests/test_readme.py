"""What the README shows works as it stands."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

import metaft
from metaft.cli import cli

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_a_learner_of_ones_own_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = README[README.index("  import torch\n\n\n  class BlurredMeans") :].partition("  ```\n")[0]
    (tmp_path / "mine.py").write_text(textwrap.dedent(code), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = ["compare", "nearest-neighbour", "mine:BlurredMeans:width=5", "--dataset", "glyphs", "--tasks", "10"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert "blurred means" in done.output or "BlurredMeans" in done.output


def test_the_python_example_names_what_exists() -> None:
    code = README[README.index("import metaft\n") :].partition("```")[0]
    for name in ("families.episodes", "models.build", "learners.MAML", "SGD", "meta_train", "evaluate"):
        assert f"metaft.{name}" in code
        part = metaft
        for word in name.split("."):
            part = getattr(part, word)
