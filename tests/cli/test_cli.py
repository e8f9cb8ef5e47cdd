from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from metaft.cli import COMMANDS, cli
from metaft.environment import program
from metaft.settings.config import RunConfig

ROOT = Path(__file__).parents[2]
SMALL = ["--dataset", "sinusoid", "--engine", "eager", "--tasks", "4"]
SMALL += ["--log-every", "2", "--validate-every", "3", "--validate-tasks", "4"]


def metaft(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "waves"
    result = metaft("meta-train", *SMALL, "--iterations", 6, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "metaft evaluate" in result.stdout
    assert "metaft tensorboard" in result.stdout
    return out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("meta-trian", "unknown command 'meta-trian'; did you mean 'meta-train'?"),
        ("meta-train --wayz 3", "unknown option '--wayz'; did you mean '--ways'?"),
        ("meta-train --dataset omniglott", "unknown data set 'omniglott'; did you mean 'omniglot'?"),
        ("meta-train --dataset sinusoid --learner mmal", "unknown learner 'mmal'; did you mean 'maml'?"),
        ("meta-train --learner nearest-neighbour", "'nearest-neighbour' cannot be meta-trained"),
        ("meta-train --dataset sinusoid --model mlpp", "unknown model 'mlpp'; did you mean 'mlp'?"),
        ("meta-train --dataset sinusoid --model conv4", "conv4 needs square images"),
        ("meta-train --scheme vinyals", "data set glyphs has only one way to be split"),
        ("meta-train --ways 1", "ways = 1: should be greater than or equal to 2"),
        ("meta-train --ways 1000000000000", "ways = 1000000000000: should be less"),
        ("meta-train --steps -1", "steps = -1: should be greater than or equal to 0"),
        ("meta-train --inner-lr 0", "inner_lr = 0: should be greater than 0"),
        ("meta-train --outer-lr nan", "outer_lr = nan: should be a finite number"),
        ("meta-train --minutes inf", "minutes = inf: should be a finite number"),
        ("meta-train --iterations many", "iterations = many: should be a valid integer"),
        ("meta-train --config absent.toml", "cannot read config absent.toml"),
        ("meta-train --resume", "no run in"),
        ("meta-train --resume --overwrite", "exclude each other"),
        ("meta-train --dataset sinusoid --learner fomaml --estimator exact", "not 'exact'"),
        ("meta-train --dataset sinusoid --device tpu", "device = tpu: should be 'auto', 'cpu', 'cuda' or 'mps'"),
        ("evaluate absent", "no run in absent"),
        ("evaluate", "Missing argument 'RUN'"),
        ("evaluate absent --split tset", "unknown split 'tset'; did you mean 'test'?"),
        ("evaluate absent --weights bets", "unknown weights 'bets'; did you mean 'best'?"),
        ("evaluate absent --protocol lake", "--protocol lake and --runs PATH"),
        ("tensorboard absent", "no TensorBoard log in absent"),
        ("tensorboard --port 99999999", "99999999"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    command: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = metaft(*command.split())
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_kept(trained: Path) -> None:
    before = (trained / "run.json").read_bytes()
    result = metaft("meta-train", *SMALL, "--out", trained)
    assert result.exit_code == 2
    assert "--resume" in result.stderr
    assert (trained / "run.json").read_bytes() == before


def test_a_run_leaves_what_the_readme_promises(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert {"config.toml", "run.json", "metrics.jsonl", "tensorboard", "checkpoints", "episode.png"} <= names
    record = json.loads((trained / "run.json").read_text())
    assert record["command"].split()[0] == "metaft"
    assert record["state"] == "finished"


def test_evaluate(trained: Path, tmp_path: Path) -> None:
    file, plot = tmp_path / "r.json", tmp_path / "r.png"
    result = metaft("evaluate", trained, "--tasks", 10, "--steps", 3, "--json", file, "--plot", plot)
    assert result.exit_code == 0, result.stderr
    assert "± " in result.stdout
    (numbers,) = json.loads(file.read_text())["results"].values()
    assert len(numbers["per_step"]) == 4
    assert numbers["tasks"] == 10
    assert plot.read_bytes()[:4] == b"\x89PNG"
    again = metaft("evaluate", trained, "--tasks", 10, "--steps", 3)
    assert again.exit_code == 0
    (written,) = (trained / "evaluations").glob("*.json")
    assert json.loads(written.read_text())["results"]["maml"]["mean"] == numbers["mean"]


def test_evaluate_on_other_tasks_and_weights(trained: Path) -> None:
    def mean(*args: object) -> float:
        done = metaft("evaluate", trained, "--tasks", 10, *args)
        assert done.exit_code == 0
        written = "".join(done.stdout.partition("written: ")[2].partition(".json")[:2])
        return json.loads(Path(written).read_text())["results"]["maml"]["mean"]

    assert mean() == mean() != mean("--seed", 5)
    assert mean("--shots", 2) != mean()
    assert mean("--split", "val") != mean()
    assert mean("--weights", "last") > 0


def test_a_checkpoint_of_another_architecture(trained: Path, tmp_path: Path) -> None:
    config = trained / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("hidden = 40", "hidden = 41"))
    result = metaft("evaluate", trained)
    config.write_text(text)
    assert result.exit_code == 2
    assert "another architecture" in result.stderr
    assert "[40, 1]" in result.stderr


def test_ctrl_c_then_resume(tmp_path: Path) -> None:
    out = tmp_path / "r"
    call = [sys.executable, "-m", "metaft", "meta-train", *SMALL, "--out", str(out), "--quiet"]
    process = subprocess.Popen(
        [*call, "--iterations", "100000"], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    log = out / "metrics.jsonl"
    while time.monotonic() < deadline and not (log.exists() and log.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "--resume" in said
    assert "Traceback" not in said
    done = json.loads((out / "run.json").read_text())["iteration"]
    result = metaft("meta-train", "--resume", "--out", out, "--iterations", done + 3, "--quiet", *SMALL)
    assert result.exit_code == 0, result.stderr
    assert json.loads((out / "run.json").read_text())["iteration"] == done + 3


def test_help_is_quick_and_complete() -> None:
    program = (
        "import sys, metaft.cli as c\ntry: c.cli(['--help'])\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.endswith("False\n"), "metaft --help must not import torch"
    assert all(name in shown.stdout for name in COMMANDS)
    short, text = metaft("meta-train", "--help").stdout, metaft("meta-train", "--help-all").stdout
    assert all(f"--{name.replace('_', '-')}" in text for name in RunConfig.model_fields)
    assert all(f"--{name.replace('_', '-')} " in short for name in RunConfig.common)
    assert "default: 5" in short


def test_help_is_short_at_first_and_names_the_way_to_the_rest() -> None:
    text = metaft("meta-train", "--help").stdout
    assert len(text.splitlines()) <= 100
    assert all(way in text for way in ("meta-train --help-all", "--learner NAME --help", "metaft parts"))


def test_the_next_command_is_one_that_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / ".venv" / "bin" / "metaft"
    tool.parent.mkdir(parents=True)
    tool.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tool.with_name("python")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert program() == "./.venv/bin/metaft"
    monkeypatch.chdir("/")
    assert (Path("/") / program()).samefile(tool)
    monkeypatch.setenv("PATH", str(tool.parent))
    assert program() == "metaft"


def test_help_offers_the_choices_of_every_setting() -> None:
    text = metaft("meta-train", "--help-all").stdout
    for choices in ("compile|eager|higher", "auto|COUNT", "transductive|inductive", "--minutes NUMBER"):
        assert choices in text


def test_version() -> None:
    assert metaft("--version").stdout.startswith("metaft, version ")


def test_data_lists_the_data_sets() -> None:
    shown = metaft("data").stdout
    assert all(name in shown for name in ("omniglot", "glyphs", "sinusoid", "MIT"))
