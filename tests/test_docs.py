"""What the pages of docs/ show works as it stands, and what they say is refused is what is refused."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import metaft
from experiments.methods import PAGE as METHODS
from metaft.cli import COMMANDS, cli
from metaft.elementary.mode import TABLE
from metaft.elementary.random_functions import without_a_stream
from metaft.tables import RULES
from tests.any_module.cases import REFUSED

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
SHOWN = {**PAGES, **{name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}}
RUN = {"your_own.md": ("stripes", "Lines", "Small", "BlurredMeans")}
"""Page → words of those commands on it that are run: what they need stands on the page."""


def blocks_of(page: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: what stands behind the fence, and the text."""
    found = re.findall(r"^( *)```([^\n`]*)\n(.*?)^ *```$", page, flags=re.DOTALL | re.MULTILINE)
    return [(kind.strip(), textwrap.dedent(text)) for _, kind, text in found]


def python_of(page: str) -> list[tuple[str, str]]:
    """The Python of a page: the name of its file, if one is shown above it, and the code."""
    blocks = [(kind, text) for kind, text in blocks_of(page) if kind.startswith("python")]
    return [(kind.partition('title="')[2].rstrip('"'), text) for kind, text in blocks if not text.startswith("--8<--")]


def commands_of(page: str) -> list[str]:
    """The `metaft …` lines of a page; in what a command printed, those behind a `$`."""
    plain = "\n".join(text for kind, text in blocks_of(page) if not kind)
    lines = re.sub(r" *\\\n\s*", " ", plain).splitlines()
    lines = [line.strip().removeprefix("$ ").partition(" #")[0] for line in lines]
    return [line for line in lines if line.startswith("metaft ") and "…" not in line]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for page in SHOWN.values() for name, _ in python_of(page) if name]:
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    return tmp_path


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if python_of(text) and name != "learn2learn.md"])
def test_the_python_runs(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests/cli/test_learn2learn.py` runs what docs/learn2learn.md shows."""
    for number, (name, code) in enumerate(python_of(PAGES[page])):
        file = name or f"shown_{number}.py"
        (folder / file).write_text(code, encoding="utf-8")
        monkeypatch.delitem(sys.modules, file.removesuffix(".py"), raising=False)
        importlib.invalidate_caches()
        importlib.import_module(file.removesuffix(".py"))


@pytest.mark.parametrize("page", RUN)
def test_commands_that_a_page_has_all_for_are_run(page: str, folder: Path) -> None:
    for name, code in python_of(PAGES[page]):
        (folder / (name or "unnamed.py")).write_text(code, encoding="utf-8")
    for word in RUN[page]:
        (line,) = [line for line in commands_of(PAGES[page]) if f":{word}" in line]
        quick = (
            ["--iterations", "2", "--tasks", "2", "--validate-tasks", "2"] if "meta-train" in line else ["--tasks", "4"]
        )
        done = CliRunner().invoke(cli, [*shlex.split(line)[1:], *quick])
        assert done.exit_code == 0, f"{line}\n{done.output}"


@pytest.mark.parametrize("page", [name for name, text in SHOWN.items() if commands_of(text)])
def test_every_command_is_understood(page: str, folder: Path) -> None:
    """Its options exist; where they are settings, these are valid and go together."""
    lines = commands_of(SHOWN[page])
    for line in lines:
        _, name, *words = shlex.split(line)
        if name.startswith("-"):
            continue
        assert name in COMMANDS, line
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        words = [word for word in words if word not in ("--help", "--resume")]
        words = [str(ROOT / word) if word.startswith("experiments/") else word for word in words]
        command.make_context(name, words)  # one that trains settles all its settings here


@pytest.mark.parametrize("page", SHOWN)
def test_files_that_a_page_names_exist(page: str) -> None:
    here = ROOT / "docs" if page in PAGES else ROOT
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", SHOWN[page]):
        assert (here / target).exists(), target
    for path in re.findall(
        r"`((?:metaft|tests|benchmarks|experiments|results)/[\w/.]+\.(?:py|md|toml|json))`", SHOWN[page]
    ):
        assert (ROOT / path).exists() or "inner/rules/halved" in path, path


def test_the_rule_of_contributing_is_one_file_and_one_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SHOWN["CONTRIBUTING.md"]
    (_, code), (_, row) = python_of(text)
    (folder / "halved.py").write_text(code)
    name, _, place = re.search(r'"(halved)"(: )"([\w.:]+)"', row).groups()  # type: ignore[union-attr]
    monkeypatch.setitem(RULES.rows, name, f"halved:{place.partition(':')[2]}")
    (asked,) = re.findall(r"`--rule (halved:[\w=.]+)`", text)
    assert RULES.make(asked, lr=0.1).share == 0.25  # type: ignore[attr-defined]
    words = [
        "meta-train",
        "--dataset",
        "sinusoid",
        "--rule",
        asked,
        "--iterations",
        "2",
        "--engine",
        "eager",
        "--quiet",
    ]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output


@pytest.fixture
def blurred_means(folder: Path) -> Any:
    """The learner that docs/your_own.md shows."""
    (folder / "mine.py").write_text(dict(python_of(PAGES["your_own.md"]))["mine.py"], encoding="utf-8")
    importlib.invalidate_caches()
    return importlib.import_module("mine").BlurredMeans


@pytest.mark.parametrize("ways", ["5", "3-7"])
@pytest.mark.usefixtures("blurred_means")
def test_a_learner_of_ones_own_is_compared(ways: str) -> None:
    words = ["compare", "nearest-neighbour", "mine:BlurredMeans:width=5", "--dataset", "glyphs", "--tasks", "10"]
    done = CliRunner().invoke(cli, [*words, "--ways", ways])
    assert done.exit_code == 0, done.output
    assert "blurred means" in done.output or "BlurredMeans" in done.output


def test_a_task_of_few_ways_is_answered_as_it_is_alone(blurred_means: Any) -> None:
    """Tasks of a batch have as many ways and shots as the largest of them; what is padded must change no answer."""
    family = metaft.families.episodes("glyphs", ways=(3, 7), shots=(1, 5), queries=2, split="test", seed=3)
    batch = family.batch(0, 8)
    assert (batch.support_y == -100).any()
    learner = blurred_means()
    together = learner.curve(batch)[0]
    for task in range(batch.tasks):
        real, asked = batch.support_y[task] != -100, batch.query_y[task] != -100
        x, y = batch.support_x[task][real], batch.support_y[task][real]
        alone = learner.adapt(x[None], y[None])(batch.query_x[task][asked][None])[0]
        torch.testing.assert_close(together[task][asked][:, : alone.shape[-1]], alone)
        blurred = learner.blur(x).flatten(1)
        means = torch.stack([blurred[y == c].mean(0) for c in range(int(y.max()) + 1)])
        expected = -torch.cdist(learner.blur(batch.query_x[task][asked]).flatten(1), means)
        torch.testing.assert_close(alone, expected)


def test_no_part_of_a_page_needs_the_network() -> None:
    config = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in config
    assert "https:" not in config + (ROOT / "docs/extra.css").read_text()


def test_every_page_is_in_the_navigation() -> None:
    config = (ROOT / "mkdocs.yml").read_text() + "results.md"  # that one is added by the hook
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page not in config] == []
    assert METHODS == ROOT / "docs/methods.md"


def test_make_knows_docs() -> None:
    said = subprocess.run(["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "mkdocs build --strict" in said.stdout, said.stderr
    assert "make docs" in (ROOT / ".ci/run").read_text()


def test_every_refusal_is_on_the_page() -> None:
    refused = PAGES["any_module.md"].partition("## What is refused")[2]
    for name, way_out in REFUSED.items():
        what = {"max norm": "max_norm", "scaled by frequency": "scale_grad_by_freq"}.get(name.partition(": ")[2], name)
        assert what in refused, name
        assert way_out.removeprefix("without ") in refused, name
    for function in (f for f, handler in TABLE.items() if handler is without_a_stream):
        assert f"`{function.__name__}`" in refused
