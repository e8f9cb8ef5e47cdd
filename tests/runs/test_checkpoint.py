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
from metaft.training.state import TrainState


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


DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    found = {}
    for name in draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=4, unique=True)):
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        dtype, seed = draw(st.sampled_from(DTYPES)), draw(st.integers(0, 2**32))
        drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
        found[name] = drawn.to(dtype)
    return found


@settings(max_examples=40, deadline=None)
@given(
    parts=st.fixed_dictionaries({name: tensors() for name in ("average", "best", "optimiser")}),
    seconds=st.floats(allow_nan=False, allow_infinity=False),
    iteration=st.integers(0, 10**9),
)
def test_any_shapes_and_types_come_back(
    tmp_path_factory: pytest.TempPathFactory, parts: dict[str, Any], seconds: float, iteration: int
) -> None:
    folder = tmp_path_factory.mktemp("c")
    progress = {"iteration": iteration, "seconds": seconds}
    checkpoint.save(folder, Checkpoint(progress, {"w": torch.tensor(1.5)}, **parts))
    found = checkpoint.load_newest(folder)
    assert found.progress == progress
    for name, given_part in parts.items():
        part = getattr(found, name)
        assert part.keys() == given_part.keys()
        for key, tensor in given_part.items():
            assert (part[key].dtype, part[key].shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(part[key], tensor)


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
    content = bytearray(file.read_bytes().replace(b"0.30000000000000004", b"0.3125"))  # no digit that says nothing
    if file.suffix == ".json":
        file.write_bytes(content)
        write_sealed(file)
        content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    with pytest.raises((DamagedCheckpointError, MetaftError)):
        checkpoint.read(path)


def test_a_damaged_one_does_not_outlive_the_one_it_is_passed_over_for(tmp_path: Path) -> None:
    for i in (1, 2, 3):
        path = checkpoint.save(tmp_path, make(i))
    (path / "progress.json").write_bytes(b"")
    found = checkpoint.load_newest(tmp_path)
    checkpoint.give_up_after(tmp_path, found.path)
    # Had the damaged third stayed, it would be the one kept beside the fourth.
    checkpoint.save(tmp_path, make(4))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["iteration-0000000002", "iteration-0000000004"]


@pytest.mark.parametrize(
    "changes",
    [
        {"files": []},
        {"files": {"weights": None}},
        {"files": {"../../weights": "x"}},
        {"files": {}},
        {"progress": []},
        {"progress": {}},
        {"progress": {"iteration": "7"}},
        {"progress": {"iteration": True}},
        {"base": []},
        {"base": {"name": "hf:minilm", "names": "a.weight", "sha256": ""}},
        {"base": {"name": "hf:minilm", "names": [1], "sha256": ""}},
    ],
)
def test_a_strangers_record_with_a_fitting_seal(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = checkpoint.save(tmp_path, make(1))
    write_sealed(path / "progress.json", **changes)
    with pytest.raises(DamagedCheckpointError):
        checkpoint.read(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda c: c.progress.update(iteration=-1), "does not say where its run stands: iteration = -1"),
        (lambda c: c.progress.update(seconds=None), "seconds = None"),
        (lambda c: c.progress.update(window=2**70), "window = "),
        (lambda c: c.progress.update(best_score="1"), "best_score = 1"),
        (lambda c: c.progress.update(more=1), "more = 1"),
        (lambda c: c.average.pop("a.bias"), "no parameter 'a.bias'"),
        (lambda c: c.best.update({"a.bias": torch.zeros(9)}), "another architecture"),
        (lambda c: c.optimiser.update({"exp_avg/a.bias": torch.zeros(9)}), "another optimiser: see 'a.bias'"),
        (lambda c: c.optimiser.update({"step/a.bias": torch.zeros((), dtype=torch.int64)}), "another optimiser"),
        (lambda c: c.optimiser.pop("exp_avg_sq/a.bias"), "another optimiser"),
        (lambda c: c.optimiser.update({"extra": torch.zeros(1)}), "unknown entry 'extra'"),
        (lambda c: c.optimiser.pop("random/torch"), "no state of the random numbers"),
        (lambda c: c.optimiser.update({"random/torch": torch.zeros(3)}), "no state of the random numbers"),
    ],
)
def test_a_state_is_held_against_the_run_before_it_is_taken(spoil: Any, said: str) -> None:
    def state() -> TrainState:
        weights = {"a.weight": torch.ones(2, 3), "a.bias": torch.ones(2)}
        return TrainState.start(weights, 0.9, torch.device("cpu"))

    trained, fresh = state(), state()
    trained.step({name: torch.ones_like(w) for name, w in trained.weights.items()}, 0.1)
    trained.keep_best(-0.5)
    stored = trained.checkpoint()
    stored = Checkpoint(stored.progress, stored.weights, stored.average, dict(stored.best), stored.optimiser)
    spoil(stored)
    before, random = fresh.checkpoint(), torch.get_rng_state()
    with pytest.raises(MetaftError, match=said):
        fresh.restore(stored)
    assert all(torch.equal(before.weights[k], w) for k, w in fresh.weights.items())
    assert torch.equal(random, torch.get_rng_state())


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
    with pytest.raises(MetaftError, match=rf"format {checkpoint.FORMAT + 1}.*update metaft"):
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
