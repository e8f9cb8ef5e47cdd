import logging
import threading

import pytest
import torch

from metaft.data import cache
from metaft.data.images import LabelledImages
from metaft.errors import MetaftError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    cache._warn_unwritable.cache_clear()
    return tmp_path / "cache"


class Builder:
    """Counts how often it was asked to build."""

    def __init__(self, seed: int = 0) -> None:
        self.calls = 0
        draw = torch.Generator().manual_seed(seed)
        self.entry = cache.Entry(
            {
                "bits": torch.randint(0, 256, (40, 30), dtype=torch.uint8, generator=draw),
                "more": torch.randn(7, generator=draw),
            },
            ("Ä/1", "b"),
        )

    def __call__(self) -> cache.Entry:
        self.calls += 1
        return self.entry


def same(a: cache.Entry, b: cache.Entry) -> bool:
    return (
        a.names == b.names
        and a.tensors.keys() == b.tensors.keys()
        and all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors)
    )


def only_file(folder):
    (path,) = folder.iterdir()
    return path


def test_built_once_and_read_back(folder):
    build = Builder()
    first, second = cache.cached("k", build), cache.cached("k", build)
    assert build.calls == 1
    assert same(first, build.entry)
    assert same(second, build.entry)
    assert second.names == ("Ä/1", "b")


def test_keys_are_apart_even_with_slashes(folder):
    one, two = Builder(1), Builder(2)
    assert same(cache.cached("../k", one), one.entry)
    assert same(cache.cached("..-k", two), two.entry)
    assert same(cache.cached("../k", one), one.entry)
    assert len(list(folder.iterdir())) == 2
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_a_truncated_file_is_built_again(folder, keep, caplog):
    build = Builder()
    cache.cached("k", build)
    path = only_file(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    for _ in range(2):
        assert same(cache.cached("k", build), build.entry)
    assert build.calls == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_no_flipped_bit_goes_unnoticed(folder):
    build = Builder()
    cache.cached("k", build)
    path = only_file(folder)
    whole = path.read_bytes()
    for position in [*range(0, len(whole), 13), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        before = build.calls
        assert same(cache.cached("k", build), build.entry), position
        assert build.calls == before + 1, position


def test_a_sound_file_of_another_key_is_not_taken(folder):
    one, two = Builder(1), Builder(2)
    cache.cached("one", one)
    path = only_file(folder)
    cache.cached("two", two)
    (folder / path.name.replace("one", "two")).write_bytes(path.read_bytes())
    assert same(cache.cached("two", two), two.entry)
    assert two.calls == 2


def test_an_unwritable_folder_is_done_without_and_said_once(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "file" / "cache"))
    build = Builder()
    for _ in range(2):
        assert same(cache.cached("k", build), build.entry)
    cache.note("fact")
    assert not cache.noted("fact")
    assert build.calls == 2
    assert len(caplog.records) == 1
    assert "METAFT_CACHE" in caplog.records[0].message


def test_no_space_left_leaves_nothing_half_written(folder, monkeypatch, caplog):
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    build = Builder()
    assert same(cache.cached("k", build), build.entry)
    assert list(folder.iterdir()) == []
    assert "No space left" in caplog.text


def test_builders_at_the_same_time(folder):
    barrier = threading.Barrier(4)
    builders = [Builder() for _ in range(4)]
    results = {}

    def work(i: int) -> None:
        def build() -> cache.Entry:
            barrier.wait(timeout=30)
            return builders[i]()

        results[i] = cache.cached("k", build)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(results[i], builders[i].entry) for i in range(4))
    only_file(folder)
    late = Builder()
    assert same(cache.cached("k", late), late.entry)
    assert late.calls == 0


def test_images_and_facts(folder):
    made = LabelledImages(torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1), torch.tensor([2, 3]), ("a", "b"))
    calls = []
    for _ in range(2):
        read = cache.cached_images("i", lambda: calls.append(1) or made)
        assert torch.equal(read.images, made.images)
        assert torch.equal(read.counts, made.counts)
        assert read.names == made.names
    assert len(calls) == 1
    assert not cache.noted("fact")
    cache.note("fact")
    assert cache.noted("fact")
    assert not cache.noted("other")


def test_file_digest_follows_the_content(tmp_path):
    (tmp_path / "a").write_text("1")
    before = cache.file_digest(tmp_path / "a")
    (tmp_path / "a").write_text("2")
    assert len(before) == 16
    assert cache.file_digest(tmp_path / "a") != before
    with pytest.raises(MetaftError, match="absent"):
        cache.file_digest(tmp_path / "absent")
