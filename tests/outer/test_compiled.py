"""What compiling takes is known, and taken once."""

from __future__ import annotations

import pytest
import torch

from metaft.outer.compiled import compile_if_possible, compiler_found, seconds_compiling


@pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")
def test_seconds_are_those_of_first_calls() -> None:
    square = compile_if_possible(lambda x: x.square() + 1)
    start = seconds_compiling()
    assert torch.equal(square(torch.tensor([2.0])), torch.tensor([5.0]))
    once = seconds_compiling()
    square(torch.tensor([3.0]))
    assert start < once == seconds_compiling()
    square(torch.tensor([[3.0]]))  # another shape is compiled anew
    assert seconds_compiling() > once
