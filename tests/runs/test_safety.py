"""Nothing that a stranger's file holds is ever executed, followed out of its folder, or given all memory."""

from __future__ import annotations

import ast
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from metaft import models
from metaft.assembly.meta_learner import load_run
from metaft.cli import cli
from metaft.errors import MetaftError
from metaft.plugins import load_attribute
from metaft.runs import checkpoint
from metaft.settings.config import load_config

ROOT = Path(__file__).parents[2]
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
SMALL = ["--dataset", "sinusoid", "--engine", "eager", "--tasks", "2", "--iterations", "2", "--quiet"]


def sources() -> list[Path]:
    return sorted((ROOT / "metaft").rglob("*.py"))


def test_nothing_in_the_package_unpickles_or_evaluates() -> None:
    found = []
    for file in sources():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{file.name}: imports {n}" for n in names if n.split(".")[0] in UNPICKLERS]
            if not isinstance(node, ast.Call):
                continue
            call, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            if call in ("eval", "exec", "os.system", "numpy.load", "np.load", "torch.jit.load", "read_pickle"):
                found.append(f"{file.name}: calls {call}")
            if call == "torch.load" and keywords.get("weights_only") != "True":
                found.append(f"{file.name}: torch.load without weights_only")
            if keywords.get("allow_pickle", "False") != "False" or keywords.get("shell", "False") != "False":
                found.append(f"{file.name}: {call} with {keywords}")
    assert len(sources()) > 50
    assert found == []


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "run"
    assert CliRunner().invoke(cli, ["meta-train", *SMALL, "--out", str(out)]).exit_code == 0
    return out


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.mark.parametrize("how", ["pickle", "torch.save", "torch.save, old format"])
@pytest.mark.parametrize("where", ["weights.safetensors", "optimiser.safetensors", "progress.json", "run.json"])
def test_a_checkpoint_that_would_run_a_command(run: Path, tmp_path: Path, how: str, where: str) -> None:
    mark, file = tmp_path / "ran", tmp_path / "payload"
    if how == "pickle":
        file.write_bytes(pickle.dumps(Payload(mark)))
    else:
        torch.save({"a": Payload(mark)}, file, _use_new_zipfile_serialization=how == "torch.save")
    # Able to fail: unpickled, it does run.
    torch.load(file, weights_only=False) if how != "pickle" else pickle.loads(file.read_bytes())
    assert mark.exists()
    mark.unlink()
    targets = [run / where] if where == "run.json" else list((run / "checkpoints").glob(f"*/{where}"))
    for target in targets:
        target.write_bytes(file.read_bytes())
    for command in (["evaluate", str(run), "--tasks", "2"], ["meta-train", "--resume", "--out", str(run), "--quiet"]):
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 2
        assert sum(line.startswith("Error: ") for line in result.stderr.splitlines()) == 1
        assert "Traceback" not in result.stderr
    assert not mark.exists()


@pytest.mark.parametrize("options", ["", ":hidden=3"])
def test_code_named_by_a_strangers_settings_is_not_imported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    monkeypatch.delitem(sys.modules, "payload_of_a_stranger", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    mark = tmp_path / "ran"
    (tmp_path / "payload_of_a_stranger.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\nfrom metaft.models import MLP as Net\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METAFT_OWN_CODE", raising=False)
    monkeypatch.setattr("metaft.plugins._from_files", {})
    path = "payload_of_a_stranger:Net"
    config = run / "config.toml"
    config.write_text(config.read_text().replace('"mlp"', f'"{path}{options}"'))
    with pytest.raises(MetaftError, match=r"names code that would be imported and run, payload.*METAFT_OWN_CODE=1"):
        load_run(run)
    assert not mark.exists()
    # Typed in the command it is the user's own wish; once it has been loaded it is known.
    assert load_config(config, {"model": f"{path}{options}"}).model == f"{path}{options}"
    load_attribute(path)
    assert mark.exists()
    load_config(config)
    assert load_attribute(path) is models.MLP


@pytest.mark.parametrize("name", ["metrics.jsonl", "run.json", "config.toml", ".lock", "checkpoints", "tensorboard"])
def test_a_link_out_of_the_run_is_not_written_through(run: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    shutil.move(run / name, victim)
    (run / name).symlink_to(victim)
    before = victim.read_bytes() if victim.is_file() else sorted(p.name for p in victim.iterdir())
    for how in ("--resume", "--overwrite"):
        result = CliRunner().invoke(cli, ["meta-train", *SMALL, how, "--out", str(run)])
        assert result.exit_code == 2
        assert "is a link" in result.stderr
    assert before == (victim.read_bytes() if victim.is_file() else sorted(p.name for p in victim.iterdir()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ways = 1000000000000", "ways = 1000000000000"),
        ("ways = " + "9" * 5000, "not valid TOML"),
        ("ways = 1e400", "ways = inf"),
        ("ways = [" + "1," * 20_000 + "]", r"ways = \[1, 1"),
        ("a = " + "[" * 5000 + "]" * 5000, "not valid TOML"),
        ("a" * 10_000 + " = 1", "unknown setting 'aaa"),
        ("[" + "a." * 4000 + "b]\nc = 1", r"not valid TOML|unknown section"),
        ('dataset = "' + "x" * 10_000 + '"', "unknown data set"),
        ("hidden = 65536", r"65536.* would have .* weights"),
        ("tasks = 1000000\nshots = 100000", "would hold"),
        ("#" * 2**20 + "x", "larger than"),
        ("steps = 10000000000", "steps = 10000000000"),
    ],
)
def test_absurd_settings_are_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "c.toml"
    defaults = "" if text.startswith("dataset") else 'dataset = "sinusoid"\n'
    file.write_text(defaults + text)
    result = CliRunner().invoke(cli, ["meta-train", "--config", str(file), "--out", str(tmp_path / "r")])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 5000
    assert re.search(said, result.stderr), result.stderr
    assert not (tmp_path / "r").exists()


def test_an_endless_config_is_not_read_to_its_end(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["meta-train", "--config", "/dev/zero"])
    assert result.exit_code == 2
    assert "larger than" in result.stderr


def test_what_steers_a_terminal_is_shown_not_sent() -> None:
    error = MetaftError("bad \x1b[2J\nname \x9b31m\u202e")
    assert error.message == r"bad \x1b[2J name \x9b31m\u202e"
    assert len(MetaftError("x" * 10**6).message) < 5000


def test_a_huge_checkpoint_file_takes_no_memory(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, checkpoint.Checkpoint({"iteration": 1}, {"a": torch.zeros(2)}))
    os.truncate(path / "weights.safetensors", checkpoint.MAX_PART_BYTES + 1)  # sparse: no room on the disk
    program = (
        "import resource, sys, pathlib\nfrom metaft.runs import checkpoint\nfrom metaft.errors import MetaftError\n"
        "try: checkpoint.load_newest(pathlib.Path(sys.argv[1]))\nexcept MetaftError as e: print(e)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    call = [sys.executable, "-c", program, str(tmp_path)]
    said = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "damaged" in said.stdout
    assert "larger than" in said.stderr
    assert int(said.stdout.split()[-1]) < 2000
