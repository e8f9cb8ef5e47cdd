"""Freed memory stays with the process."""

from __future__ import annotations

import platform

import pytest

from metaft.outer.allocator import keep_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc's")
def test_glibc_takes_the_options() -> None:
    keep_memory.cache_clear()
    assert keep_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_memory.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_memory()
    keep_memory.cache_clear()
