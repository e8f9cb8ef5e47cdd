"""Help: printed where it is asked for, quick, and true."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from metaft.cli import COMMANDS, cli
from metaft.cli.defaults import ALL_TEXTS, DATASETS, default_text, settled
from metaft.cli.options import COMPUTED
from metaft.data.catalog import DATASETS as CATALOG
from metaft.settings.config import CommandSettings, RunConfig
from metaft.settings.defaults import REGRESSIONS, TEXTS
from metaft.settings.distill import DistillConfig
from metaft.settings.learner import LearnerSettings
from metaft.settings.pretrain import PretrainConfig
from metaft.settings.published import MANY
from metaft.tables import LEARNERS, META_TRAINED

ROOT = Path(__file__).parents[2]
KINDS: dict[str, type[CommandSettings]] = {
    "meta-train": RunConfig, "compare": RunConfig, "pretrain": PretrainConfig, "distill": DistillConfig,
}  # fmt: skip
MISUSED = (
    "-x", "--verbose", "help", "meta_train", "meta-train --ways", "meta-train extra", "meta-train --quiet=3",
    "evaluate", "evaluate a b", "compare", "compare --tasks", "sweep", "show", "repeat", "runs a b", "tensorboard a b",
    "tensorboard --port many", "data x", "sweep --out x --jobs 0", "evaluate run --tasks", "--help-me", "'' run",
    "analogies", "analogies hf:minilm --seed many", "conflict", "conflict random --tasks 1",
    "variance", "variance stories260k --orders many",
    "judge", "judge dpo-demo --limit many", "revise", "revise self-instruct",
    "facts", "facts stories260k --shots many",
    "complete", "complete stories260k", "complete stories260k a b", "complete stories260k a --words many",
)  # fmt: skip


def test_the_program_alone_prints_its_help() -> None:
    alone, asked = CliRunner().invoke(cli, []), CliRunner().invoke(cli, ["--help"])
    assert (alone.exit_code, alone.stderr) == (0, "")
    assert alone.stdout == asked.stdout == CliRunner().invoke(cli, ["-h"]).stdout
    assert "[OPTIONS] COMMAND [ARGS]" in alone.stdout.splitlines()[0]
    assert all(f"\n  {name}  " in alone.stdout for name in COMMANDS)


@pytest.mark.parametrize("words", MISUSED)
def test_wrong_use_is_one_line_and_code_2(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, words.split())
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.output
    assert done.stderr.startswith("Error: ")


def test_help_and_version_need_no_torch() -> None:
    """Told by what is imported, not by a clock: torch and numpy take seconds."""
    program = """
import sys
from metaft.cli import COMMANDS, cli
for words in ([], ["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)):
    try:
        cli(words)
    except SystemExit as end:
        assert end.code == 0, words
    heavy = {"torch", "numpy", "matplotlib", "sklearn", "scipy", "PIL", "tensorboard"} & set(sys.modules)
    assert not heavy, (words, heavy)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def told() -> Iterator[tuple[str, str, str]]:
    """Command, setting and what stands in brackets at the end of its help, of every option that is a setting."""
    for command, kind in KINDS.items():
        for param in import_module(COMMANDS[command][0]).command.params:
            if param.name in kind.model_fields and isinstance(param, click.Option):
                found = re.search(r"\[([^\[\]]*)\]$", param.help or "")
                own = command == "compare" and (
                    param.show_default or param.name in ("shots", "test_tasks", "test_steps")
                )
                if not own:
                    yield command, param.name, found[1] if found else ""


def value(text: str) -> object:
    return {"yes": True, "no": False, "none": None}.get(text, text)


def as_text(found: object) -> object:
    if isinstance(found, bool) or found in (None, "none"):
        return found if isinstance(found, bool) else None
    return f"{found:g}" if isinstance(found, float) else str(found)


@pytest.mark.parametrize(("command", "name", "said"), list(told()), ids=lambda part: str(part)[:24])
def test_defaults_are_what_really_happens(command: str, name: str, said: str) -> None:
    kind = KINDS[command]
    if "the method's own" in said:
        return
    parts = [part for part in said.split("; ") if part]
    sets = [d for d in (*DATASETS, "mnist") if (kind is RunConfig) <= (d != "mnist") or d not in REGRESSIONS]
    sets = [d for d in sets if d != "mnist" or command == "distill"]
    sets = [d for d in sets if kind is RunConfig or d not in (*REGRESSIONS, *TEXTS)]
    methods: dict[tuple[str, str], object] = {}
    general = dict.fromkeys(sets)
    first = parts[0] if parts else ""
    if first.startswith("default: "):
        general = {d: value(first.removeprefix("default: ")) for d in sets}
    if name in ("dataset", "learner"):
        assert as_text(settled(kind)[name]) == general["glyphs"]
        return
    some = False
    for part in parts[1:] if first.startswith("default: ") or ": " not in first else parts:
        who, _, what = part.partition(": ")
        if part == "some methods have their own":
            some = True
        elif who == "with minutes":
            assert as_text(settled(kind, minutes=1.0)[name]) == value(what)
        elif who == f"from {MANY} ways on":
            assert as_text(settled(kind, ways=MANY)[name]) == value(what)
        elif who.split(", ")[0].split(" on ")[0] in LEARNERS:
            names, _, where = who.partition(" on ")
            where = where.replace(ALL_TEXTS, ", ".join(TEXTS))
            for learner in names.split(", "):
                methods |= {(learner, d): value(what) for d in (where.split(", ") if where else sets)}
        else:
            general |= {d: value(what) for d in who.replace(ALL_TEXTS, ", ".join(TEXTS)).split(", ")}
    for dataset in sets:
        found = settled(kind, dataset=dataset)
        assert found, dataset
        assert as_text(found[name]) == general[dataset], dataset
        for learner in META_TRAINED if kind is RunConfig and not some and not _own(first) else ():
            found = settled(kind, dataset=dataset, learner=learner)
            assert as_text(found[name]) == methods.get((learner, dataset), general[dataset]), (dataset, learner)
    if not some and name != "ways" and not any(part.startswith("from ") for part in parts):
        assert settled(kind, ways=MANY)[name] == settled(kind)[name]


def _own(first: str) -> bool:
    """Whether help names a default of the method's, which stands in its own signature."""
    return bool(first) and not first.startswith(("default: ", "--ways"))


@pytest.mark.parametrize("learner", META_TRAINED)
def test_help_of_a_learner_has_its_options_with_their_real_defaults_and_no_others(learner: str) -> None:
    text = CliRunner().invoke(cli, ["meta-train", "--learner", learner, "--help"]).stdout
    entries = dict(re.findall(r"^  (\S+)\s(.*?)(?=^  \S|^\S|\Z)", text, flags=re.MULTILINE | re.DOTALL))
    known = META_TRAINED.options(learner)
    for name, option in known.items():
        if name in COMPUTED:
            continue
        general = name in LearnerSettings.model_fields
        said = " ".join(entries[f"--{name.replace('_', '-')}" if general else f"{learner}:{name}=…"].split())
        real = settled(RunConfig, learner=learner).get(name) if general else None
        assert said.endswith(f"[{default_text(option.default if real is None else real)}]"), said
    foreign = {name for other in META_TRAINED for name in META_TRAINED.options(other)} - set(known)
    assert not [name for name in foreign if f"{name}=" in text or f"--{name.replace('_', '-')} " in text]


def test_help_of_what_is_no_meta_learner_is_one_line() -> None:
    done = CliRunner().invoke(cli, ["meta-train", "--learner", "protonat", "--help"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "did you mean 'protonet'" in done.stderr


def test_all_data_sets_are_named() -> None:
    assert set(CATALOG) == set(DATASETS)
    for command in KINDS:
        text = CliRunner().invoke(cli, [command, "--help"]).stdout
        assert ("mnist" in text) == (command == "distill")
        assert ("sinusoid, table" in " ".join(text.split())) == (KINDS[command] is RunConfig)


def test_what_an_evaluation_takes_from_its_run() -> None:
    command = import_module(COMMANDS["evaluate"][0]).command
    for param in command.params:
        # Where a run was trained says nothing about where it is scored.
        if isinstance(param, click.Option) and param.name in RunConfig.model_fields and param.name != "device":
            assert "default:" not in param.help
            assert re.search(r"\[(the run's own|as the run was trained)", param.help), param.name
