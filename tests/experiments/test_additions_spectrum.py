"""Singular values of a change, against matrices whose values are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from experiments.additions.spectrum import effective_rank, energy, moved_matrices, spectrum


def rotated(values: list[float], rows: int, columns: int, seed: int) -> Tensor:
    """A matrix of these singular values, its directions drawn."""
    draw = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(n, len(values), generator=draw, dtype=torch.float64))[0] for n in (rows, columns)
    )
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


def test_the_spectrum_is_that_of_the_difference() -> None:
    before = torch.randn(12, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = spectrum(before, before + rotated([5.0, 2.0, 0.5], 12, 7, seed=1))
    assert torch.allclose(found, torch.tensor([5.0, 2.0, 0.5, 0, 0, 0, 0], dtype=torch.float64), atol=1e-12)


def test_a_convolution_counts_its_window_among_the_inputs() -> None:
    moved = rotated([3.0, 1.0], 4, 2 * 3 * 3, seed=2)
    found = spectrum(torch.zeros(4, 2, 3, 3), moved.view(4, 2, 3, 3))
    assert found.tolist() == pytest.approx([3.0, 1.0, 0.0, 0.0], abs=1e-12)


def test_energy_is_what_is_left_of_the_norm_by_the_best_matrix_of_a_rank() -> None:
    values = [4.0, 2.0, 1.0, 1.0]
    whole = rotated(values, 9, 6, seed=3)
    u, s, v = torch.linalg.svd(whole)
    for rank in (1, 2, 4):
        best = u[:, :rank] @ torch.diag(s[:rank]) @ v[:rank]
        left = float((whole - best).square().sum() / whole.square().sum())
        assert energy(torch.tensor(values), (rank,))[0] == pytest.approx(1 - left, abs=1e-9)
    assert energy(torch.tensor(values), (1, 4)) == pytest.approx([16 / 22, 1.0])
    assert energy(torch.zeros(3), (1,)) == [1.0]


def test_the_effective_rank_counts_directions() -> None:
    assert effective_rank(torch.tensor([7.0, 0.0, 0.0])) == pytest.approx(1.0)
    assert effective_rank(torch.full((5,), 0.3)) == pytest.approx(5.0)
    assert 1.0 < effective_rank(torch.tensor([1.0, 0.1])) < 2.0
    assert effective_rank(torch.zeros(4)) == 0.0


def test_every_matrix_named_is_measured_and_its_norm_against_its_own() -> None:
    before = {"a": torch.eye(3), "b": torch.ones(2, 2), "bias": torch.zeros(3)}
    after = {"a": torch.eye(3) * 1.5, "b": torch.ones(2, 2), "bias": torch.ones(3)}
    found = moved_matrices(before, after, ["a", "b"])
    assert list(found) == ["a", "b"]
    assert found["a"][0].tolist() == pytest.approx([0.5, 0.5, 0.5])
    assert found["a"][1] == pytest.approx(0.5)
    assert found["b"][1] == 0.0
