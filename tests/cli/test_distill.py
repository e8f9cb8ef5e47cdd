"""``metaft distill`` on the command line: its end, its mistakes, and the commands that know its runs."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from metaft.cli import cli
from metaft.cli.distill_summary import show_report
from metaft.commands.distill.generations import Generation, Line
from metaft.commands.distill.report import Report, Row
from metaft.environment import environment
from metaft.settings.config import validated
from metaft.settings.distill import DistillConfig

DATASET = "tests.runs.own_images:images"
TINY = [
    "--dataset", DATASET, "--model", "mlp", "--hidden", "8", "--ways", "3", "--queries", "4", "--iterations", "4",
    "--batch-size", "12", "--validate-every", "2", "--validate-tasks", "4", "--checkpoint-every", "2",
    "--validation", "classification", "--validation-share", "3", "--test-share", "3",
]  # fmt: skip
MNIST = ["--dataset", "mnist"]


def metaft(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def joined(text: str) -> str:
    return "".join(text.split())


@pytest.fixture(autouse=True)
def _one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {**environment(), "commit": "abc"}
    monkeypatch.setattr("metaft.commands.repeat.environment", lambda: here)
    monkeypatch.setattr("metaft.runs.directory.environment", lambda: here)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("runs") / "line"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metaft.runs.directory.environment", lambda: here)
        here = {**environment(), "commit": "abc"}
        result = metaft("distill", *TINY, "--generations", 2, "--temperature", "1,4", "--out", out)
    assert result.exit_code == 0, result.output
    return out, result.stdout


def test_the_end_is_a_table_of_generations_and_the_next_command(done: tuple[Path, str]) -> None:
    out, said = done
    results = json.loads((out / "distillation.json").read_text())["results"]
    assert list(results) == ["generation 0", "generation 1", "generation 2", "generations 0–1", "generations 0–2"]
    for row in results.values():
        assert f"{100 * row['test']:.2f}±" in joined(said)
    best = json.loads((out / "run.json").read_text())["best_generation"]
    after = (
        f"metaft distill --resume --generations 4 --out {out}" if best == 2 else f"metaft show {out}/generation-{best}"
    )
    assert joined(after) in joined(said)
    assert "temperaturebyvalidation:1:" in joined(said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*TINY, "--temperature", "0"], "temperature = 0: should be a number above 0"),
        ([*TINY, "--temperature", "4,-1"], "temperature = 4,-1: should be a number above 0"),
        ([*TINY, "--temperature", "nan"], "temperature = nan: should be a number above 0"),
        ([*TINY, "--temperature", "1,4", "--loss", "logits"], "nothing to soften, loss = logits uses no temperature"),
        ([*TINY, "--temperature", "8", "--control", "longer"], "nothing to soften, control = longer uses no temp"),
        ([*TINY, "--control", "longer", "--teacher-hidden", "9"], "students need its model, hidden and dropout"),
        ([*TINY, "--control", "longer", "--teacher-dropout", "0.5"], "students need its model, hidden and dropout"),
        ([*TINY, "--control", "cwtm", "--loss", "logits"], "loss = logits has no effect: with control = cwtm"),
        ([*TINY, "--label-weight", "1", "--loss", "logits"], "loss = logits has no effect: with label_weight = 1"),
        ([*TINY, "--label-weight", "1", "--control", "dkpp"], "control = dkpp has no effect: label_weight = 1"),
        ([*TINY, "--noise", "pairwise"], "noise = pairwise: of which share of the labels"),
        ([*TINY, "--label-weight", "1.5"], "label_weight = 1.5: should be less than or equal to 1"),
        ([*TINY, "--label-weight", "-0.1"], "label_weight = -0.1: should be greater than or equal to 0"),
        ([*TINY, "--generations", "0"], "generations = 0: should be greater than or equal to 1"),
        ([*TINY, "--loss", "sof"], "loss = sof: should be 'soft', 'logits'"),
        ([*TINY, "--loss", "hidden", "--label-weight", "0"], "leaves the student's head to the labels"),
        ([*TINY, "--loss", "hidden", "--control", "dkpp"], "control = 'dkpp' is of a teacher's scores"),
        ([*TINY, "--control", "longr"], "control = longr: should be 'none', 'dkpp'"),
        ([*TINY, "--label-noise", "1"], "label_noise = 1: should be less than 1"),
        ([*TINY, "--leave-out", "train-9"], "cannot leave out class 'train-9'"),
        ([*TINY, "--cache", "on", "--shift", "1"], "cache = on and shift = 1"),
        ([*TINY, "--epochs", "3"], "epochs and iterations both say"),
        ([*TINY, "--batch-size", "100"], "a minibatch of 100 examples asked of"),
        ([*TINY, "--model", "conv4", "--dropout", "0.5"], "model 'conv4' has no option 'dropout'"),
        ([*TINY, "--teacher-model", "mpl"], "unknown model 'mpl'; did you mean 'mlp'"),
        ([*TINY, "--validation-share", "9"], "leave none to train"),
        ([*TINY, "--teacher", "absent"], "no run in absent"),
        ([*TINY, "--teacher", "absent", "--teacher-hidden", "9"], "teacher_hidden is of a teacher to be trained"),
        (["--dataset", "omniglt"], "unknown data set 'omniglt'; did you mean 'omniglot'"),
        (["--dataset", "sinusoid"], "tells classes apart"),
        (["--dataset", "mnist", "--data-root", "absent"], "MNIST was not found under"),
        (["--config", "absent.toml"], "cannot read config absent.toml"),
        (["--resume"], "no run in"),
        (["--resume", "--overwrite"], "exclude each other"),
        (["--temprature", "3"], "unknown option '--temprature'; did you mean '--temperature'"),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAFT_DATA", "nowhere")
    result = metaft("distill", *words, "--out", tmp_path / "none")
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_that_learned_from_held_out_examples_is_refused(done: tuple[Path, str], tmp_path: Path) -> None:
    for words in (["--test-share", "4"], ["--validation-share", "2"], ["--split-seed", "1"]):
        result = metaft("distill", *TINY, *words, "--teacher", done[0] / "generation-0", "--out", tmp_path / "none")
        assert result.exit_code == 2
        assert (
            "learned from the examples that are held out" in result.stderr or "split_seed = 0, not 1" in result.stderr
        )
        assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("left_out", [None, "train-2"])
def test_the_table_fits_80_columns(left_out: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    config = validated(DistillConfig, {"dataset": DATASET, "validation": "classification", "leave_out": left_out})
    told: dict[str, Any] = {"errors": 12_345, "ece": 0.1234, "agreement": 1.0, "soft_label_entropy": 1.234}
    row = Row("generations 0–3", 0.98, 0.01, 0.98765, 0.01234, 0.0, 0.0, 10_000, **told, seconds=12_345.0)
    if left_out is not None:
        row = dataclasses.replace(row, name="generation 1 corrected", left_out_errors=1_010)
    first = Generation(0, torch.nn.Identity(), Path("out/generation-0"), 0.98, 0.01, 1.0, None)
    line = Line(Path("out"), config, None, (first,), {})  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metaft.cli.distill_summary.WIDE", 80)
        show_report(Report(line, (row,), ()))
    lines = capsys.readouterr().out.splitlines()
    cells = [cell for cell in row.cells() if cell != "–"]
    (whole,) = [line for line in lines if all(cell in line for cell in cells)]
    assert len(whole) <= 80
    assert not any("…" in line for line in lines)


def test_a_teacher_of_other_classes_or_a_damaged_one_is_one_line(done: tuple[Path, str], tmp_path: Path) -> None:
    out = tmp_path / "none"
    few = ["--dataset", "tests.runs.own_images:others"]
    other = metaft("distill", *TINY, *few, "--teacher", done[0] / "generation-0", "--out", out)
    shutil.copytree(done[0] / "generation-0", tmp_path / "t")
    for file in (tmp_path / "t/checkpoints").glob("*/weights.safetensors"):
        file.write_bytes(file.read_bytes()[:-9])
    damaged = metaft("distill", *TINY, "--teacher", tmp_path / "t", "--out", out)
    (tmp_path / "t/run.json").write_text("{")
    unreadable = metaft("distill", *TINY, "--teacher", tmp_path / "t", "--out", out)
    for result, said in (
        (other, "teacher and student need the same classes"),
        (damaged, "are damaged"),
        (unreadable, "is damaged"),
    ):
        assert result.exit_code == 2
        assert said in result.stderr
        assert result.stderr.splitlines()[-1].startswith("Error: ")
        assert "Traceback" not in result.output
    assert not out.exists()


def test_overwriting_removes_all_generations_and_never_the_teacher(done: tuple[Path, str], tmp_path: Path) -> None:
    out = tmp_path / "a"
    shutil.copytree(done[0], out)
    taken = metaft("distill", *TINY, "--out", out)
    assert (taken.exit_code, "--resume" in taken.stderr) == (2, True)
    kept = metaft("distill", *TINY, "--teacher", out / "generation-0", "--out", out, "--overwrite")
    assert (kept.exit_code, "would remove the teacher" in kept.stderr) == (2, True)
    assert (out / "generation-2").exists()
    assert metaft("distill", *TINY, "--out", out, "--overwrite", "--quiet").exit_code == 0
    assert sorted(path.name for path in out.glob("generation-*")) == ["generation-0", "generation-1"]
    assert not (out / "candidates").exists()


def test_runs_and_show_know_a_distillation(done: tuple[Path, str]) -> None:
    out, _ = done
    listed = {Path(run["path"]).name: run for run in json.loads(metaft("runs", out.parent, "--json").stdout)}
    assert set(listed) == {"line", "generation-0", "generation-1", "generation-2"}
    assert listed["line"]["state"] == "finished"
    assert listed["line"]["best"] == max(listed[f"generation-{k}"]["best"] for k in range(3))
    shown = json.loads(metaft("show", out, "--json").stdout)
    assert shown["settings"]["temperature"] == "1,4"
    assert "--temperature 1,4" in shown["repeat"]["command line"]
    part = json.loads(metaft("show", out / "generation-1", "--json").stdout)
    assert part["settings"]["generation"] == 1
    assert str(out) in part["repeat"]["command line"]


def test_a_distillation_repeats_bit_for_bit(done: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = done
    again = metaft("repeat", out, "--out", tmp_path / "again", "--quiet")
    assert again.exit_code == 0, again.output
    assert "agrees bit for bit" in again.stdout
    log = tmp_path / "again/generation-2/metrics.jsonl"
    log.write_text(log.read_text().replace('"loss": ', '"loss": 1'))
    from metaft.commands.agreement import compare_runs

    found = compare_runs(out, tmp_path / "again", ())
    assert not found.exact
    assert "generation-2" in str(found.rows)
    part = metaft("repeat", out / "generation-1")
    assert (part.exit_code, "is one generation of" in part.stderr) == (2, True)


def test_a_comparison_takes_a_generation_or_the_best_of_them(done: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = done
    learners = [f"class-means:backbone={out}/generation-1,label=one", f"class-means:backbone={out},label=best"]
    settings = ["--dataset", DATASET, "--ways", 3, "--queries", 4, "--tasks", 6]
    result = metaft("compare", *learners, *settings, "--out", tmp_path / "c")
    assert result.exit_code == 0, result.output


def test_what_another_command_made_is_not_gone_on_with(done: tuple[Path, str], tmp_path: Path) -> None:
    part = metaft("distill", "--resume", "--out", done[0] / "generation-1")
    assert (part.exit_code, "was not made by metaft distill" in part.stderr) == (2, True)
    shared = [word for word in TINY if word not in ("--validation", "classification")]
    for option in ("--validation-share", "--test-share"):
        place = shared.index(option)
        shared = shared[:place] + shared[place + 2 :]
    assert metaft("pretrain", *shared, "--out", tmp_path / "p", "--quiet").exit_code == 0
    other = metaft("distill", "--resume", "--out", tmp_path / "p")
    assert (other.exit_code, "was not made by metaft distill" in other.stderr) == (2, True)


@pytest.mark.long
def test_killed_by_the_system_and_resumed(tmp_path: Path) -> None:
    words = ["distill", *TINY, "--iterations", "150", "--checkpoint-every", "20", "--generations", "2"]
    call = [sys.executable, "-m", "metaft", *words, "--out", str(tmp_path / "killed"), "--quiet"]
    with subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("killed/generation-1/checkpoints/iteration-*")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert metaft("distill", "--resume", "--out", tmp_path / "killed", "--quiet").exit_code == 0
    assert metaft(*words, "--out", tmp_path / "whole", "--quiet").exit_code == 0
    found = [json.loads((tmp_path / name / "distillation.json").read_text())["results"] for name in ("killed", "whole")]
    for results in found:
        for row in results.values():
            del row["seconds"]
    assert found[0] == found[1]
