"""Sums of transposes in compiled code, against the same uncompiled."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metaft.outer.compiled import compile_if_possible, compiler_found
from metaft.outer.kernels import sum_layout_pass as sums

needs_compiler = pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")


ORDERS = [((0, 2, 1), [0]), ((2, 0, 1), [1]), ((2, 0, 1), [-1]), ((1, 2, 0), [0, 2])]


@needs_compiler
def test_a_sum_of_a_transpose_is_the_transpose_of_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = []
    turn = sums._turn
    monkeypatch.setattr(sums, "_turn", lambda *args: (turned.append(args), turn(*args)))
    monkeypatch.setattr(sums.SumsAsTheyLie, "uuid", lambda self: None)  # not from torch's cache

    asked = [(order, summed, keeps_axes) for order, summed in ORDERS for keeps_axes in (False, True)]

    def function(*given: Tensor) -> list[Tensor]:
        return [
            (2 * x).permute(order).sum(summed, keeps_axes)
            for x, (order, summed, keeps_axes) in zip(given, asked, strict=True)
        ]

    given = [torch.randn(3, 4, 5) for _ in asked]
    ours, expected = compile_if_possible(function)(*given), function(*given)
    assert len(turned) == len(asked)
    assert [found.shape for found in ours] == [value.shape for value in expected]
    torch.testing.assert_close(ours, expected)


@needs_compiler
def test_sums_over_all_axes_or_in_another_precision_and_a_transpose_used_elsewhere() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        turned = (2 * x).permute(2, 0, 1)
        return turned.sum(()), turned.sum((0,), dtype=torch.float64), turned.sum(0), turned + 1

    x = torch.randn(3, 4, 5)
    for ours, expected in zip(compile_if_possible(function)(x), function(x), strict=True):
        assert ours.dtype == expected.dtype
        torch.testing.assert_close(ours, expected)
