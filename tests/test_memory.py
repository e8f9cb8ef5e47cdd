"""Freed memory is kept for the next use, and only where nobody decided otherwise."""

import json
import os
import subprocess
import sys

import pytest

from metaft.allocator import keep_freed_memory

ASK = """
import json, resource
from metaft.allocator import keep_freed_memory
kept = keep_freed_memory()
import torch
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    a = torch.ones(2**24)
    return (a * 2).sum()
for _ in range(10):
    step()
before = faults()
for _ in range(10):
    step()
print(json.dumps([kept, faults() - before]))
"""


def asked(**settings: str) -> tuple[bool, int]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    words = [sys.executable, "-c", ASK]
    told = subprocess.run(words, capture_output=True, text=True, check=True, env=plain | settings)
    kept, faults = json.loads(told.stdout.splitlines()[-1])
    return kept, faults


def test_freed_memory_is_used_again_without_new_pages():
    kept, faults = asked()
    if not kept:
        pytest.skip("the C library is not glibc")
    # Twenty times 64 MiB would be 327,680 faults of 4 KiB where each is given back; a few are new all the same.
    assert faults < 163_840


def test_what_the_environment_says_stands():
    assert not asked(MALLOC_ARENA_MAX="4")[0]


def test_an_older_c_library_that_allows_less_is_asked_for_less_and_otherwise_left_alone(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
        monkeypatch.delenv(name)
    for limit, expected in ((2**25, True), (0, False)):
        asked = []

        class Library:
            def mallopt(self, name, value, limit=limit, asked=asked):
                asked.append(name)
                return int(name != -3 or value <= limit)

        keep_freed_memory.cache_clear()
        monkeypatch.setattr("ctypes.CDLL", lambda name, library=Library: library())
        assert keep_freed_memory() is expected
        assert asked == ([-3, -3, -1, -2] if expected else [-3, -3])
    keep_freed_memory.cache_clear()


def test_another_c_library_is_left_alone(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
        monkeypatch.delenv(name)
    keep_freed_memory.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()
    keep_freed_memory.cache_clear()
