"""Operators of our own where a compiler fails."""

from __future__ import annotations

from types import ModuleType

import pytest

from metaft.outer.kernels import convolutions, small_products


@pytest.mark.parametrize(("module", "what"), [(small_products, "small products"), (convolutions, "convolutions")])
def test_what_cannot_be_built_is_said_once(
    module: ModuleType, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("g++: no such flag\nmore")

    monkeypatch.setattr("torch._inductor.codecache.CppCodeCache.load", fails)
    module.load.cache_clear()
    try:
        assert not module.load()
        assert not module.load()
    finally:
        module.load.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        f"the kernel for {what} was not built, which is slower but the same: g++: no such flag"
    ]
