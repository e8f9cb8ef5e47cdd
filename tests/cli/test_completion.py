"""What the shell offers on Tab, asked as the shell asks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from metaft.cli import cli
from metaft.cli.completion import OF_TABLES
from metaft.configs import NAMES
from metaft.tables import LEARNERS, RULES, TABLES


def offered(*words: str) -> list[str]:
    *before, last = words
    found = ShellComplete(cli, {}, "metaft", "_METAFT_COMPLETE").get_completions(before, last)
    return [item.value for item in found if item.type == "plain"]


@pytest.mark.parametrize("name", OF_TABLES)
def test_names_of_parts(name: str) -> None:
    assert offered("meta-train", f"--{name}", "") == list(OF_TABLES[name])
    first = next(iter(OF_TABLES[name]))
    assert first in offered("meta-train", f"--{name}", first[:2])


def test_data_sets_choices_and_settings() -> None:
    assert {"glyphs", "omniglot", "sinusoid", "table"} <= {*offered("meta-train", "--dataset", "")}
    assert "sinusoid" not in offered("pretrain", "--dataset", "")
    assert "mnist" in offered("distill", "--dataset", "m")
    assert offered("meta-train", "--schedule", "c") == ["constant", "cosine"]
    assert offered("meta-train", "--config", "") == list(NAMES)
    assert offered("pretrain", "--config", "") == []
    assert offered("pretrain", "--objective", "") == ["classes", "masked", "masked+order", "causal"]
    assert offered("meta-train", "--data-root", "") == []


def test_arguments() -> None:
    assert offered("parts", "") == list(TABLES)
    assert offered("parts", "rule", "") == list(RULES)
    assert offered("parts", "no-such-kind", "") == []
    assert offered("compare", "nearest-neighbour", "fine") == [n for n in LEARNERS if n.startswith("fine")]


def test_the_shell_is_answered_without_torch() -> None:
    asked = {"_METAFT_COMPLETE": "bash_complete", "COMP_WORDS": "metaft meta-train --rule m", "COMP_CWORD": "3"}
    code = (
        "import sys, metaft.cli\n"
        "try:\n    metaft.cli.cli(prog_name='metaft')\n"
        "finally:\n    assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (
        0,
        ["plain,momentum", "plain,meta-sgd", "plain,meta-curvature"],
    ), done
