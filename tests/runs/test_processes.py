from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from metaft.commands.sweep.processes import Job, last_line, run_jobs
from metaft.runs.directory import RunDirectory

WAIT = "import signal,sys,time; signal.signal(15, lambda *a: (print('saved'), sys.exit(143))); print('up', flush=True)"
WAIT += "; time.sleep(60)"


class Notes:
    """A watch that remembers, and may act once."""

    def __init__(self, act: Callable[[list[Job]], bool] | None = None) -> None:
        self.codes: dict[str, int] = {}
        self.most, self.act = 0, act

    def begin(self, done: int, total: int) -> None: ...

    def started(self, job: Job) -> None: ...

    def ended(self, job: Job, code: int) -> None:
        self.codes[job.name] = code

    def look(self, running: Iterable[Job]) -> None:
        now = list(running)
        self.most = max(self.most, len(now))
        if self.act is not None and self.act(now):
            self.act = None


def job(tmp_path: Path, name: str, code: str, folder: Path | None = None) -> Job:
    return Job(name, ("-c", code), tmp_path / "logs" / f"{name}.log", folder)


def test_so_many_at_once_and_a_failure_stops_no_other(tmp_path: Path) -> None:
    notes = Notes()
    jobs = [job(tmp_path, str(i), f"import time; time.sleep(.3); print({i}); exit({i % 2})") for i in range(4)]
    assert run_jobs(jobs, 2, notes) == 0
    assert notes.codes == {"0": 0, "1": 1, "2": 0, "3": 1}
    assert notes.most == 2
    assert (tmp_path / "logs/2.log").read_text() == "2\n"


def test_each_is_single_threaded_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    code = "import os; print(os.environ['OMP_NUM_THREADS'])"
    run_jobs([job(tmp_path, "a", code)], 1, Notes())
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    run_jobs([job(tmp_path, "a", code)], 1, Notes())
    assert (tmp_path / "logs/a.log").read_text() == "1\n3\n"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_lets_them_save_and_starts_no_more(tmp_path: Path, signum: int) -> None:
    def stop(running: list[Job]) -> bool:
        up = len(running) == 2 and all(last_line(j.log) == "up" for j in running)
        if up:
            os.kill(os.getpid(), signum)
        return up

    notes = Notes(stop)
    assert run_jobs([job(tmp_path, name, WAIT) for name in "abc"], 2, notes) == signum
    assert notes.codes == {"a": 143, "b": 143}
    assert last_line(tmp_path / "logs/a.log") == "saved"
    assert last_line(tmp_path / "logs/c.log") == ""


def test_a_second_interrupt_kills(tmp_path: Path) -> None:
    stubborn = "import signal,time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    came = []

    def stop(running: list[Job]) -> bool:
        if last_line(tmp_path / "logs/a.log") == "up":
            came.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
        return len(came) == 2

    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(tmp_path, "a", stubborn)], 1, Notes(stop))


def test_a_folder_in_use_is_waited_for(tmp_path: Path) -> None:
    held = RunDirectory(tmp_path)
    held.lock()
    order = []

    def release(running: list[Job]) -> bool:
        order.append([j.name for j in running])
        if "free" in notes.codes:
            held.close()
        return "free" in notes.codes

    notes = Notes(release)
    jobs = [job(tmp_path, "held", "", tmp_path), job(tmp_path, "free", "")]
    assert run_jobs(jobs, 2, notes) == 0
    assert list(notes.codes) == ["free", "held"]


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_members_end_when_their_sweep_is_killed(tmp_path: Path) -> None:
    child = (
        "import os,time; from metaft.commands.sweep.processes import end_with; "
        "end_with(os.getppid()); print('up', flush=True)"
    )
    parent = f"""
import subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", {child + "; time.sleep(60)"!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as sweep:
        assert sweep.stdout is not None
        pid = int(sweep.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        sweep.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _alive(pid):
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
