"""Passages of a minibatch are shared by ranks."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from metaft.assembly.backbone import load_backbone
from metaft.cli import cli
from tests.runs.test_distributed import PATIENT, environment

LETTERS = "The sea was calm that evening. Nobody spoke of the storm, and the lamps were lit one by one.\n" * 40
WORDS = [
    "pretrain", "--dataset", "letters.txt", "--batch-size", "5", "--quiet", "--length", "16", "--validate-tasks", "4",
    "--model", "transformer:layers=1,width=8,heads=2,dropout=0.1", "--tokenizer", "wordpiece:size=80",
    "--iterations", "4", "--threads", "1",
]  # fmt: skip


def started(folder: Path, size: int, *words: str) -> list[subprocess.CompletedProcess[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ranks = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "metaft", *WORDS, *words]
    processes = [
        subprocess.Popen(command, cwd=folder, env=environment(**ranks, RANK=str(rank)), stderr=-1, stdout=-1, text=True)
        for rank in range(size)
    ]
    said = [process.communicate(timeout=PATIENT) for process in processes]
    return [
        subprocess.CompletedProcess(command, process.returncode, out, err)
        for process, (out, err) in zip(processes, said, strict=True)
    ]


@pytest.mark.parametrize("objective", ["masked+order"])
def test_two_ranks_train_as_one_process_does(objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "letters.txt").write_text(LETTERS)
    monkeypatch.chdir(tmp_path)
    alone = CliRunner().invoke(cli, [*WORDS, "--objective", objective, "--out", "one"])
    assert alone.exit_code == 0, alone.output
    done = started(tmp_path, 2, "--objective", objective, "--out", "two")
    assert [one.returncode for one in done] == [0, 0], done
    one, two = (load_backbone(tmp_path / out, "last").state_dict() for out in ("one", "two"))
    for name, value in one.items():
        if not name.startswith("head"):
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-5)


@pytest.mark.long
def test_classes_are_not_shared(tmp_path: Path) -> None:
    words = ["--dataset", "intents", "--objective", "classes", "--out", "run"]
    done = started(tmp_path, 2, *words)
    assert {one.returncode for one in done} == {2}
    assert all("and no classes: leave torchrun out" in one.stderr for one in done)
    assert not (tmp_path / "run").exists()
