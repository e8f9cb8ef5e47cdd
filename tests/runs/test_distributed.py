from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from metaft.distributed.place import Place
from metaft.runs import checkpoint
from metaft.runs.metrics import read_rows
from metaft.training.ranks import _packed, _unpacked, after_restart
from metaft.training.state import TrainState
from tests.runs.ranks import work

ROOT = Path(__file__).parents[2]
PATIENT = 300  # seconds: a busy machine takes long to start a few processes


def environment(**more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return {**own, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def start(out: Path, size: int, tasks: int, **more: str) -> list[subprocess.Popen[str]]:
    """Ranks without torchrun: rank 0 holds the meeting point itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ranks = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **more}
    command = [sys.executable, "-m", "tests.runs.ranks", str(out), str(tasks)]
    return [
        subprocess.Popen(command, cwd=ROOT, env=environment(**ranks, RANK=str(r)), stderr=subprocess.PIPE, text=True)
        for r in range(size)
    ]


def end(processes: list[subprocess.Popen[str]]) -> tuple[list[int], list[str]]:
    try:
        errors = [process.communicate(timeout=PATIENT)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], errors


def rows(out: Path) -> list[dict[str, Any]]:
    clock = ("seconds", "tasks_per_second")
    return [{k: v for k, v in row.items() if k not in clock} for row in read_rows(out / "run/metrics.jsonl")]


def agree(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("size", "tasks", "kind"),
    [(2, 7, "dropout"), *(pytest.param(*case, "linear", marks=pytest.mark.long) for case in ((2, 7), (4, 3)))],
)
def test_ranks_train_and_evaluate_as_one_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, tasks: int, kind: str
) -> None:
    """Random layers draw the same, too."""
    monkeypatch.setenv("LEARNER", kind)
    (tmp_path / "one").mkdir()
    (tmp_path / "all").mkdir()
    codes, errors = end(start(tmp_path / "all", size, tasks))
    assert codes == [0] * size, errors
    alone = work(tmp_path / "one/run", tasks)
    ranks = [load_file(tmp_path / f"all/rank{r}.safetensors") for r in range(size)]
    agree(ranks[0], alone)
    for other in ranks[1:]:
        assert all(torch.equal(other[name], ranks[0][name]) for name in other)
    one, several = rows(tmp_path / "one"), rows(tmp_path / "all")
    assert [row["iteration"] for row in several] == [row["iteration"] for row in one]
    for row, expected in zip(several, one, strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            assert row[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-10)), name
    record = json.loads((tmp_path / "all/run/run.json").read_text())
    assert record["state"] == "finished"


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Two network namespaces joined by a cable, 10.99.0.1 and 10.99.0.2: two machines, as far as sockets can tell."""
    if shutil.which("ip") is None:
        pytest.skip("needs the program ip")
    names = [f"metaft-{os.getpid()}-{i}" for i in range(2)]
    ends = [f"mf{os.getpid()}-{i}" for i in range(2)]
    steps = [["netns", "add", name] for name in names]
    steps.append(["link", "add", ends[0], "netns", names[0], "type", "veth", "peer", ends[1], "netns", names[1]])
    for i, (name, end) in enumerate(zip(names, ends, strict=True)):
        steps.append(["-n", name, "address", "add", f"10.99.0.{i + 1}/24", "dev", end])
        steps += [["-n", name, "link", "set", device, "up"] for device in (end, "lo")]
    try:
        for words in steps:
            done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"network namespaces are not permitted: {done.stderr.strip()}")
        yield names
    finally:
        for name in names:  # the cable goes with them
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@pytest.mark.long
def test_two_hosts_train_as_one_process_does(tmp_path: Path, hosts: list[str]) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "all").mkdir()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    torchrun += ["--master-addr=10.99.0.1", "--master-port=29400"]
    program = ["-m", "tests.runs.ranks", str(tmp_path / "all"), "5"]
    processes = []
    for i, host in enumerate(hosts):
        command = [
            "ip",
            "netns",
            "exec",
            host,
            *torchrun,
            f"--node-rank={i}",
            f"--local-addr=10.99.0.{i + 1}",
            *program,
        ]
        # gloo would otherwise ask for this machine's name, which leads nowhere in a namespace.
        env = environment(GLOO_SOCKET_IFNAME=f"mf{os.getpid()}-{i}")
        processes.append(subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True))
    codes, errors = end(processes)
    assert codes == [0, 0], errors
    agree(load_file(tmp_path / "all/rank0.safetensors"), work(tmp_path / "one/run", 5))
    both = [load_file(tmp_path / f"all/rank{r}.safetensors") for r in range(2)]
    assert all(torch.equal(both[0][name], both[1][name]) for name in both[0])


@pytest.mark.long
def test_torchrun_starts_anew_after_a_death_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", "--max-restarts=1"]
    command = [*torchrun, "-m", "tests.runs.ranks", str(tmp_path), "5"]
    env = environment(FAIL="SIGKILL 1 10")
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENT, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "rank 1 of 3 died" in ended.stderr
    agree(load_file(tmp_path / "rank0.safetensors"), work(tmp_path / "one/run", 5))
    assert [row["iteration"] for row in rows(tmp_path)] == [row["iteration"] for row in rows(tmp_path / "one")]
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["history"][0]["state"] == "failed"
    assert "rank 1 of 3 died" in json.dumps(record) or record["state"] == "finished"


def test_a_rank_that_fails_is_named_with_its_reason(tmp_path: Path) -> None:
    codes, errors = end(start(tmp_path, 2, 4, FAIL="raise 1 6"))
    assert codes == [2, 2]
    assert "Error: rank 1 of 2 failed: the tasks are gone" in errors[0]
    assert "Error: the tasks are gone" in errors[1]
    assert "Traceback" not in errors[0] + errors[1]
    assert checkpoint.load_newest(tmp_path / "run/checkpoints").progress["iteration"] == 4
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["state"] == "failed"
    assert "rank 1 of 2 failed" in record["reason"]


@pytest.mark.long
def test_a_signal_to_one_rank_stops_all_after_the_same_iteration(tmp_path: Path) -> None:
    codes, errors = end(start(tmp_path, 2, 4, FAIL="SIGTERM 1 9"))
    assert codes == [128 + signal.SIGTERM] * 2
    assert "".join(errors).count("stopped after iteration 10, saved") == 1
    assert checkpoint.load_newest(tmp_path / "run/checkpoints").progress["iteration"] == 10


@pytest.mark.long
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_rank_that_hangs_is_named(tmp_path: Path) -> None:
    processes = start(tmp_path, 2, 4, FAIL="SIGSTOP 1 9")
    try:
        processes[0].wait(timeout=PATIENT)  # it ends, though nothing can call off what it waits for
    finally:
        processes[1].kill()
        codes, errors = end(processes)
    assert codes == [2, -signal.SIGKILL]
    assert "Error: rank 1 of 2 died or hangs" in errors[0]
    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "failed"


def test_a_state_travels_whole() -> None:
    params = {"a": torch.randn(3, 2, dtype=torch.float64), "b": torch.randn(())}
    state = TrainState.start(params, 0.5, torch.device("cpu"))
    other = TrainState.start({k: torch.zeros_like(p) for k, p in params.items()}, 0.5, torch.device("cpu"))
    state.step({k: torch.ones_like(p) for k, p in params.items()}, 0.1)
    state.keep_best(-3.0)
    other.restore(_unpacked(_packed(state.checkpoint())))
    for s in (state, other):
        s.step({k: torch.full_like(p, 0.3) for k, p in params.items()}, 0.1)
    assert other.progress == state.progress
    for part in ("weights", "average", "best"):
        assert all(torch.equal(getattr(other, part)[k], getattr(state, part)[k]) for k in params)


def test_only_a_restart_that_finds_a_run_goes_on_with_it(tmp_path: Path) -> None:
    assert after_restart(Place(), tmp_path, False, True) == (False, True)
    assert after_restart(Place(restarts=1), tmp_path, False, True) == (False, True)
    (tmp_path / "run.json").write_text("{}")
    assert after_restart(Place(), tmp_path, False, True) == (False, True)
    assert after_restart(Place(restarts=1), tmp_path, False, True) == (True, False)
