"""What compiling takes is known, and taken once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from metaft.outer import compiled
from metaft.outer.compiled import compile_if_possible, seconds_compiling


@pytest.fixture
def _traced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled as ever (``c++``), or only traced (``traced``): what is guarded is decided before any code is made."""
    if request.param == "c++":
        if not compiled.compiler_found():
            pytest.skip("no C++ compiler")
        return
    compile_as_ever = torch.compile

    def trace(function: Any, *, options: dict[str, Any], **more: Any) -> Any:
        guards = {"guard_filter_fn": options["guard_filter_fn"]}
        return compile_as_ever(function, backend="eager", options=guards, **more)

    monkeypatch.setattr(torch, "compile", trace)
    monkeypatch.setattr(compiled, "compiler_found", lambda: True)


def test_torchs_compiler_is_not_imported_with_metaft() -> None:
    """It takes as long as all the rest."""
    code = "import sys, metaft.learners, metaft.training.loop; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


either = pytest.mark.parametrize("_traced", ["traced", pytest.param("c++", marks=pytest.mark.long)], indirect=True)


@either
@pytest.mark.usefixtures("_traced")
def test_seconds_are_those_of_first_calls() -> None:
    square = compile_if_possible(lambda x: x.square() + 1)
    start = seconds_compiling()
    assert torch.equal(square(torch.tensor([2.0])), torch.tensor([5.0]))
    once = seconds_compiling()
    square(torch.tensor([3.0]))
    assert start < once == seconds_compiling()
    square(torch.tensor([[3.0]]))  # another shape is compiled anew
    assert seconds_compiling() > once


def test_globals_of_modules_that_sound_like_a_library_stay_guarded() -> None:
    from metaft.outer.compiled import _worth_a_guard

    names = ("G['__import_torch_mine'].SCALE", "G['__import_metaft_mine'].SCALE", "G['SCALE']", "L['x']")
    library = ("G['__import_torch_dot_nn'].functional", "G['__import_metaft_dot_inner_dot_tasks'].vmap")
    found = _worth_a_guard([SimpleNamespace(name=name) for name in (*names, *library)])
    assert found == [True] * 4 + [False] * 2
    own = [
        SimpleNamespace(name=name) for name in ("G['SCALE']", "G['__import_mine'].SCALE", "L['f']._by_batch.training")
    ]
    assert _worth_a_guard(own, ours=True) == [False, True, False]


class _Scaled:
    """A loss with attributes and a module, as users write them."""

    shift = 0.0

    def __init__(self) -> None:
        self.scale, self.dropout = 1.0, torch.nn.Dropout(0.5)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * self.dropout(x) + self.shift


@either
@pytest.mark.usefixtures("_traced")
def test_what_a_caller_changes_between_calls_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only assumptions about library code are left unchecked."""
    loss = _Scaled()
    loss.dropout.eval()
    built, x = compile_if_possible(lambda x: loss(x)), torch.ones(1000)
    assert torch.equal(built(x), x)
    loss.scale = 3.0
    assert torch.equal(built(x), 3 * x)
    monkeypatch.setattr(_Scaled, "shift", 1.0)
    assert torch.equal(built(x), 3 * x + 1)
    monkeypatch.undo()
    loss.dropout.train()
    assert 300 < int((built(x) == 0).sum()) < 700
    loss.dropout.eval()
    assert built(x.double()).dtype == torch.float64


@either
@pytest.mark.usefixtures("_traced")
def test_settings_of_one_process_are_compiled_apart() -> None:
    """Torch keeps assumptions with a function's code, and those of another setting are an error at times."""

    def scaled(by: float) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
        return lambda given: {n: by * v for n, v in given.items()}

    for number in range(2):
        a, b = torch.ones(2, 2), torch.ones(2, 3)
        given = {f"a{number}": a, f"b{number}": b}
        with torch._dynamo.config.patch(recompile_limit=1, accumulated_recompile_limit=1, error_on_recompile=True):
            assert (compile_if_possible(scaled(float(number)))(given)[f"a{number}"] == number).all()
