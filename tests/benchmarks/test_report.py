"""Clock, counted arithmetic, pages and the peers' set-up."""

from __future__ import annotations

import dataclasses
import gc
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.__main__ import measure, write_speed
from benchmarks.memory import page as memory
from benchmarks.memory import quantised
from benchmarks.peers import environment as peers
from benchmarks.peers import pip
from benchmarks.speed import attention, report
from benchmarks.speed.arithmetic import forward_flop, meta_gradient_flop
from benchmarks.speed.clock import Entrant, Spread, alternate, ratio
from benchmarks.speed.problem import Problem
from metaft.environment import environment
from metaft.errors import MetaftError
from metaft.tasks.batch import TaskBatch

ROW: dict[str, Any] = {
    "title": "work",
    "unit": "meta-gradient",
    "rivals": ["slow", "quick", "absent"],
    "target": 2.5,
    "target_per_second": None,
    "seconds": {"metaft": [0.1, 0.2, 0.1], "slow": [1.0, 1.0, 1.0], "quick": [0.3, 0.4, 0.3], "aside": [0.01] * 3},
    "first_call_seconds": {"metaft": 12.0, "slow": 0.0, "quick": 0.0, "aside": 0.0},
    "agreement": {"metaft": 1e-15, "slow": 0.0, "quick": 2e-16, "aside": 1e-16},
    "first_order_error": 0.5,
    "missing": {"absent": "ImportError: no"},
    "flop": 2e9,
    "limited_by": "convolution",
    "flop_per_second": {"convolution": 100e9, "product": 1e9},
    "quick": False,
    "peers": {"slow": "1.0"},
    "measured": environment(),
}


@pytest.fixture
def _little_garbage() -> Iterator[None]:
    """What other tests left is not looked through at each turn."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_little_garbage")
def test_entrants_take_turns_and_units_are_divided_out() -> None:
    order = []
    entrants = {
        "own clock": Entrant(lambda: order.append("a"), units=4, seconds=lambda _: 1.0),
        "other": Entrant(lambda: order.append("b"), threads=1),
    }
    threads = torch.get_num_threads()
    seconds, first = alternate(entrants, rounds=3, turn=0.0, say=lambda _: None)
    assert seconds["own clock"] == [0.25, 0.25, 0.25]
    assert order[4:] == ["a", "a", "b", "b"] * 3  # after two calls each: one untimed, one timed a turn
    assert first["own clock"] == 0
    assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("_little_garbage")
def test_an_entrant_that_fails_in_its_turn_is_left_out_and_the_others_go_on() -> None:
    calls = iter(range(100))

    def breaks() -> None:
        if next(calls) > 3:
            raise MetaftError("its process is gone")

    told = {}
    entrants = {"good": Entrant(lambda: None), "bad": Entrant(breaks)}
    seconds, first = alternate(entrants, 5, 0.0, lambda _: None, lambda name, error: told.update({name: str(error)}))
    assert told == {"bad": "its process is gone"}
    assert (set(seconds), len(seconds["good"]), set(first)) == ({"good"}, 5, {"good"})
    with pytest.raises(MetaftError, match="gone"):
        alternate({"bad": entrants["bad"]}, 5, 0.0, lambda _: None)


def test_a_row_whose_entrants_shared_a_process_says_so() -> None:
    said = "All entrants shared one process"
    assert said in report.page({"work": ROW}, {})
    assert said not in report.page({"work": ROW | {"apart": True}}, {})


def test_a_row_says_how_far_off_the_other_order_would_be() -> None:
    said = "order gradient would be off by 0.5"
    assert f"a first-{said}" in report.page({"work": ROW}, {})
    first = report.page({"work": ROW | {"first_order": True}}, {})
    assert "an exact gradient would be off by 0.5" in first
    assert said not in first


def test_ratio_is_taken_within_a_turn() -> None:
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == Spread(3.0, 2.0, 4.0)


def test_table_names_the_fastest_rival_and_the_distance_to_the_limit() -> None:
    cells = dict(zip(report.HEADS, report.summary(ROW), strict=True))
    assert cells["metaft"] == "100 ms"
    assert cells["fastest peer"] == "quick: 300 ms"
    assert cells["ratio (range)"] == "3.00× (2.00–3.00)"
    assert (cells["target"], cells["reached"]) == ("≥ 2.5×", "yes")
    assert cells["limit of the arithmetic"] == "5.0× the limit"


@pytest.mark.parametrize(("change", "reached"), [({"target": 3.5}, "no"), ({"rivals": ["absent"]}, "–")])
def test_a_target_missed_or_without_a_rival_is_not_called_reached(change: dict[str, Any], reached: str) -> None:
    assert dict(zip(report.HEADS, report.summary(ROW | change), strict=True))["reached"] == reached


def test_a_speed_target_is_judged_by_units_a_second() -> None:
    row = ROW | {"target": None, "target_per_second": 9.0, "unit": "task", "flop": None}
    cells = dict(zip(report.HEADS, report.summary(row), strict=True))
    assert (cells["metaft"], cells["target"], cells["reached"]) == ("10 tasks/s", "≥ 9 tasks/s", "yes")
    assert cells["limit of the arithmetic"] == "–"


def test_pages_keep_earlier_rows_and_name_what_is_missing(tmp_path: Path) -> None:
    write_speed({"conv4-stride2": ROW}, {}, tmp_path, "first")
    write_speed({"sinusoid": ROW | {"title": "waves"}}, {"jax": "no wheel"}, tmp_path, "second")
    stored = json.loads((tmp_path / "speed.json").read_text())
    assert list(stored["results"]) == ["sinusoid", "conv4-stride2"]
    assert stored["results"]["conv4-stride2"]["command"] == "first"
    text = (tmp_path / "speed.md").read_text()
    for words in ("waves", "jax could not be installed: no wheel", "absent is not in this row: ImportError: no"):
        assert words in text
    assert "no results" not in text
    assert "no results" in report.page({"a": ROW | {"quick": True}}, {})


def test_the_version_line_names_the_peers_of_all_rows() -> None:
    later = {"transformers": "5.1", "peft": "0.2", "higher": "0.1", "unlisted": "7"}
    rows = {"old": ROW | {"peers": {"higher": "0.1", "jax": "0.9"}}, "new": ROW | {"peers": later}}
    assert "; higher 0.1, jax 0.9, transformers 5.1, peft 0.2, unlisted 7. Peers run" in report.page(rows, {})
    rows["newest"] = ROW | {"peers": {"higher": "0.1", "jax": "1.0"}}
    assert "; higher 0.1, jax 0.9 and 1.0, transformers" in report.page(rows, {})


def test_arithmetic_is_counted_from_shapes() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    x = torch.rand(7, 2, 4, 4)
    convolution, linear = 2 * 7 * 3 * 16 * (2 * 9), 2 * 7 * 5 * 48
    assert forward_flop(network, x) == (convolution, linear)
    batch = TaskBatch(x[None], torch.zeros(1, 7, dtype=torch.int64), x[None], torch.zeros(1, 7, dtype=torch.int64))
    once = meta_gradient_flop(Problem(network, batch, "classification", 0.1, steps=2))
    assert once == 2 * (4 * convolution + 9 * linear) + 2 * convolution + 3 * linear


def test_arithmetic_of_attention_and_of_a_first_order_gradient() -> None:
    encoder = attention.Encoder(layers=2, width=8, heads=2, vocabulary=11)
    projections, to_each_other, forward = 4 * 8 * 8, 2 * 4 * 8, 2 * 8 * 32
    each = 2 * 3 * 4 * (projections + to_each_other + forward)  # 3 examples of 4 tokens
    x = torch.randint(11, (3, 4))
    assert forward_flop(encoder, x) == (0, 2 * each + 2 * 3 * 8 * 5)
    batch = TaskBatch(x[None], torch.zeros(1, 3, dtype=torch.int64), x[None], torch.zeros(1, 3, dtype=torch.int64))
    problem = Problem(encoder, batch, "classification", 0.1, steps=3)
    once = forward_flop(encoder, x)[1]
    assert meta_gradient_flop(problem) == (3 * 9 + 3) * once
    assert meta_gradient_flop(dataclasses.replace(problem, first_order=True)) == (3 * 3 + 3) * once


def probes() -> list[memory.Probe]:
    made = [
        {
            "entrant": e,
            "pool": p,
            "steps": k,
            "baseline_mib": 300.0,
            "peak_mib": 300.0 + mib,
            "seconds": 1.0,
            "finite": True,
        }
        for p in memory.POOLS
        for e, line in {"metaft flat": (100, 110, 900), "higher": (50, 1600)}.items()
        for k, mib in zip((2, 64, 1000), line, strict=False)
    ]
    return [*made, {"entrant": "learn2learn", "pool": "max", "steps": 64, "error": "out of memory"}]


def test_memory_page_and_figure(tmp_path: Path) -> None:
    memory.write(probes(), tmp_path, False, "python -m benchmarks memory")
    text = (tmp_path / "memory.md").read_text()
    assert "metaft flat: 64 steps need 1.10 × the memory of 2 (target: at most 1.2), 0.16 MiB" in text
    assert "higher: 64 steps need 32.00 × the memory of 2, 25.00 MiB for each further step; the process 5.43 ×." in text
    assert "1,000 exact steps of metaft flat complete in 1 s with a peak of 1.17 GiB" in text
    assert "learn2learn, Conv4 max-pool, 64 steps: out of memory" in text
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
    lines = memory.figure(probes()).axes[0].get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[100, 110, 900], [50, 1600]]


def test_peak_memory_is_seen_and_forgotten() -> None:
    probe = pytest.importorskip("benchmarks.memory.probe")
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux's /proc")
    probe.forget_peak()
    before = probe.resident()
    block = torch.ones(64 * 2**18)  # 64 MiB
    del block
    assert 60 < probe.peak() - before < 90


def test_every_peer_is_pinned_and_torch_is_metafts_own() -> None:
    pinned = [line.split("==")[0].lower() for line in pip.CONSTRAINTS[1].read_text().splitlines() if "==" in line]
    assert "torch" not in pinned
    ours = {line.split("==")[0].lower() for line in pip.CONSTRAINTS[0].read_text().splitlines() if "==" in line}
    assert not ours & set(pinned)
    assert set(peers.PEERS) <= set(pinned) | ours


def test_a_failed_set_up_is_told_in_one_line() -> None:
    assert pip.last_line("Collecting x\nERROR: No matching distribution\n[notice] new pip\n") == (
        "ERROR: No matching distribution"
    )
    assert "failed without a word" in pip.last_line("", ["pip", "install"])


def test_a_peer_that_does_not_install_is_reported_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, ...]] = []

    def run(*command: str, cwd: Path = tmp_path) -> None:
        ran.append(command)
        if "learn2learn" in command[-1]:
            raise pip.Failed("no compiler")

    monkeypatch.setattr(peers, "VENV", tmp_path)
    monkeypatch.setattr(peers, "STAMP", tmp_path / "peers.json")
    monkeypatch.setattr(pip, "run", run)
    assert peers.ready(lambda _: None) == {"learn2learn": "no compiler"}
    installs = [command[-1] for command in ran if "install" in command]
    assert installs[0] == "torch"  # alone and first: a range would bring CUDA with it
    assert {"higher", "torchopt", "jax"} <= set(installs)
    ran.clear()
    assert peers.ready(lambda _: None) == {"learn2learn": "no compiler"}
    assert not ran


def test_a_row_that_is_killed_says_by_what(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    killed = subprocess.CompletedProcess([], -signal.SIGKILL)
    monkeypatch.setattr("benchmarks.__main__.subprocess.run", lambda *args, **options: killed)
    assert measure("resnet12", quick=True) is None
    assert "ended by SIGKILL; SIGKILL may mean: not enough memory" in capsys.readouterr().out


def test_page_of_quantised_bases(tmp_path: Path) -> None:
    probe = {"loaded": 500.0, "peak of loading and answering": 1000.0, "peak of a gradient": 1200.0}
    made = {model: {**probe, "answers": [[1.0, 2.0]]} for model in quantised.PAIRS}
    made |= {
        model: {n: v / 4 for n, v in probe.items()} | {"answers": [[1.0, 2.5]]} for model in quantised.PAIRS.values()
    }
    made["hf:minilm"] = {"error": "out of memory"}
    quantised.write(made, tmp_path, "python -m benchmarks quantised")
    text = (tmp_path / "quantised.md").read_text()
    assert "| hf:smollm2 | 500 | 1,000 | 1,200 | – |" in text
    assert "| ratio | 0.25 | 0.25 | 0.25 | 0.5 |" in text
    assert "- hf:minilm: out of memory" in text
    assert text.count("| ratio") == 1
