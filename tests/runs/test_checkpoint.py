from __future__ import annotations

import errno
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metaft import files
from metaft.errors import MetaftError
from metaft.runs import checkpoint
from metaft.runs.checkpoint import Checkpoint, DamagedCheckpointError


def make(iteration: int, value: float = 1.0) -> Checkpoint:
    weights = {"a.weight": torch.full((2, 3), value), "a.bias": torch.full((2,), -value)}
    optimiser = {"step/a.bias": torch.tensor(3.0), "random/torch": torch.get_rng_state()}
    return Checkpoint({"iteration": iteration, "seconds": 0.1 + 0.2}, weights, optimiser=optimiser)


def write_sealed(file: Path, **changes: Any) -> None:
    """Change a checkpoint's record as a stranger could: with a seal that fits."""
    record = {**json.loads(file.read_text()), **changes}
    del record["sha256"]
    record["sha256"] = hashlib.sha256(json.dumps(record, sort_keys=True, indent=1).encode()).hexdigest()
    file.write_text(json.dumps(record))


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, make(7))
    again = checkpoint.load_newest(tmp_path)
    assert again.progress == {"iteration": 7, "seconds": 0.1 + 0.2}
    assert all(torch.equal(again.weights[k], v) for k, v in make(7).weights.items())
    assert torch.equal(again.optimiser["random/torch"], torch.get_rng_state())
    assert again.average == again.best == {}


def test_two_are_kept(tmp_path: Path) -> None:
    for i in (1, 5, 12, 30):
        checkpoint.save(tmp_path, make(i))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["iteration-0000000012", "iteration-0000000030"]


@pytest.mark.parametrize("name", ["weights.safetensors", "optimiser.safetensors", "progress.json"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "flipped"])
def test_a_damaged_newest_falls_back(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: str) -> None:
    checkpoint.save(tmp_path, make(1, 1.0))
    file = checkpoint.save(tmp_path, make(2, 2.0)) / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        flipped = bytes([content[0]]) + bytes([content[1] ^ 16]) + content[2:]
        file.write_bytes({"empty": b"", "cut": content[:-1], "flipped": flipped}[damage])
    assert checkpoint.load_newest(tmp_path).weights["a.weight"][0, 0] == 1.0
    assert "iteration-0000000002 is damaged" in caplog.text
    # The next one replaces it.
    checkpoint.save(tmp_path, make(2, 3.0))
    assert checkpoint.load_newest(tmp_path).weights["a.weight"][0, 0] == 3.0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("c")
    path = checkpoint.save(folder, make(1))
    file = data.draw(st.sampled_from(sorted(path.iterdir())))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    with pytest.raises((DamagedCheckpointError, MetaftError)):
        checkpoint.read(path)


def test_all_damaged_or_none(tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match="no checkpoint"):
        checkpoint.load_newest(tmp_path)
    (checkpoint.save(tmp_path, make(1)) / "progress.json").unlink()
    with pytest.raises(MetaftError, match="damaged"):
        checkpoint.load_newest(tmp_path)


def test_a_newer_format_is_refused_not_passed_over(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, make(1))
    file = checkpoint.save(tmp_path, make(2)) / "progress.json"
    write_sealed(file, format=checkpoint.FORMAT + 1)
    with pytest.raises(MetaftError, match=r"format 2.*update metaft"):
        checkpoint.load_newest(tmp_path)


@pytest.mark.parametrize("part", ["first", "last"])
def test_a_full_disk_leaves_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    checkpoint.save(tmp_path, make(1))
    real = files.write_synced

    def full(path: Path, content: bytes) -> None:
        if (part == "first") == (path.name != "progress.json"):
            real(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_synced", full)
    with pytest.raises(MetaftError, match=r"no space left.*iteration-0000000001, is intact"):
        checkpoint.save(tmp_path, make(2))
    assert checkpoint.load_newest(tmp_path).progress["iteration"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["iteration-0000000001"]


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, make(1))
    with pytest.raises(MetaftError, match=r"'a\.weight' are not finite"):
        checkpoint.save(tmp_path, make(2, float("inf")))
    assert checkpoint.newest_name(tmp_path) == "iteration-0000000001"


def test_loading_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    path = checkpoint.save(tmp_path, make(1))
    content = pickle.dumps(Evil())
    (path / "weights.safetensors").write_bytes(content)
    digests = json.loads((path / "progress.json").read_text())["files"]
    write_sealed(path / "progress.json", files={**digests, "weights": hashlib.sha256(content).hexdigest()})
    with pytest.raises(DamagedCheckpointError, match=r"weights\.safetensors"):
        checkpoint.read(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ({"a.weight": (2, 3), "a.bias": (2,), "b": (1,)}, "it has no parameter 'b'"),
        ({"a.weight": (2, 3)}, "the model has no parameter 'a.bias'"),
        ({"a.weight": (2, 4), "a.bias": (2,)}, r"'a.weight' is \[2, 3\] torch.float32 there, \[2, 4\]"),
    ],
)
def test_another_architecture_is_named(expected: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        checkpoint.require_fit(make(1).weights, {k: torch.zeros(s) for k, s in expected.items()}, "x")
