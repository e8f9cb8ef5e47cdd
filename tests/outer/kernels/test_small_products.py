"""The kernel for products of small matrices, against torch's own product in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metaft.outer.compiled import compile_if_possible, compiler_found
from metaft.outer.kernels import small_products

needs_compiler = pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")
sizes = st.integers(1, 50)


def matrices(batch: int, rows: int, columns: int, transposed: bool, gap: int, seed: int) -> Tensor:
    """Random matrices, one after another or with gaps, row by row or column by column."""
    draw = torch.Generator().manual_seed(seed)
    shape = (batch, columns, rows + gap) if transposed else (batch, rows, columns + gap)
    whole = torch.randn(shape, dtype=torch.float64, generator=draw)
    return whole[..., :rows].transpose(1, 2) if transposed else whole[..., :columns]


@needs_compiler
@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 4),
    sizes,
    sizes,
    sizes,
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_products_are_torchs_for_any_size_and_stride(
    batch: int, rows: int, depth: int, columns: int, first: bool, second: bool, gap: int, every: bool, wide: bool
) -> None:
    assert small_products.load()
    a, b = matrices(batch, rows, depth, first, gap, 0), matrices(batch, depth, columns, second, gap, 1)
    if every:  # neither rows nor columns without gaps
        a, b = (torch.stack([m, -m], -1)[..., 0] for m in (a, b))
    expected = torch.bmm(a, b)
    if not wide:
        a, b = a.float(), b.float()
    found = torch.ops.metaft.small_bmm(a, b)
    assert found.dtype == a.dtype
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-12 if wide else 1e-4)
    assert torch.equal(torch.ops.metaft.small_mm(a[-1], b[-1]), found[-1])


@needs_compiler
def test_nothing_beyond_the_matrices_is_read() -> None:
    assert small_products.load()
    for columns in (1, 7, 16, 17, 33, 40):
        a, b = torch.full((2, 9, 12), float("nan")), torch.full((2, 11, columns + 20), float("nan"))
        a[:, 2:7, 1:9], b[:, 1:9, 3 : 3 + columns] = 1.0, 2.0
        found = torch.ops.metaft.small_bmm(a[:, 2:7, 1:9], b[:, 1:9, 3 : 3 + columns])
        assert torch.equal(found, torch.full((2, 5, columns), 16.0))
        alone = torch.ops.metaft.small_mm(a[1, 2:7, 1:9], b[1, 1:9, 3 : 3 + columns])
        assert torch.equal(alone, torch.full((5, columns), 16.0))


@needs_compiler
def test_compiled_code_uses_the_kernel_for_small_products_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[tuple[int, ...]] = []
    is_small = small_products._is_small

    def watched(node: torch.fx.Node, most: int) -> bool:
        small = is_small(node, most)
        replaced.extend([tuple(node.meta["val"].shape)] * small)
        return small

    monkeypatch.setattr(small_products, "_is_small", watched)
    monkeypatch.setattr(small_products.SmallProducts, "uuid", lambda self: None)  # not from torch's cache
    small, large = torch.randn(3, 4, 5), torch.randn(3, 64, 64)
    one, huge = torch.randn(90, 7), torch.randn(128, 128)

    def function(*given: Tensor) -> list[Tensor]:
        return [a @ a.mT for a in given]

    arguments = small, large, one, huge
    ours, expected = compile_if_possible(function)(*arguments), function(*arguments)
    assert replaced == [(3, 4, 4), (90, 90)]
    torch.testing.assert_close(ours, expected)
