"""Layers written out in elementary operations, against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from metaft.elementary.batch_norm import normalise, var_mean
from metaft.elementary.max_pooling import max_pool2d, plain_max_pool2d
from metaft.models.functional import Functional


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize(("kernel", "size"), [((2, 2), (6, 8)), ((2, 2), (7, 7)), ((3, 2), (9, 5))])
def test_max_pooling_and_its_gradient_are_torchs(kernel: tuple[int, int], size: tuple[int, int]) -> None:
    x = images(2, 3, *size)
    ours, theirs = max_pool2d(x, kernel), F.max_pool2d(x, kernel)
    assert torch.equal(ours, theirs)
    cotangent = torch.randn_like(theirs)
    assert torch.equal(torch.autograd.grad(ours, x, cotangent)[0], torch.autograd.grad(theirs, x, cotangent)[0])


def test_of_equal_values_the_first_takes_the_gradient_as_in_torch() -> None:
    x = torch.randint(0, 2, (3, 4, 8, 8), generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    cotangent = torch.randn(3, 4, 4, 4, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad(pool, x, cotangent)[0] for pool in (max_pool2d(x, (2, 2)), F.max_pool2d(x, 2)))
    assert torch.equal(ours, theirs)


def test_not_a_number_is_passed_on() -> None:
    for place in range(4):
        x = torch.zeros(1, 1, 2, 2)
        x.view(-1)[place] = float("nan")
        assert max_pool2d(x, (2, 2)).isnan().all()


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 1},
        {"padding": 1},
        {"dilation": 2},
        {"ceil_mode": True},
        {"return_indices": True},
    ],
)
def test_other_max_poolings_are_left_to_torch(options: dict[str, Any]) -> None:
    assert plain_max_pool2d(images(1, 1, 8, 8), 2, **options) is None
    assert plain_max_pool2d(images(1, 1, 8, 8), 2) == (2, 2)
    assert plain_max_pool2d(images(1, 1, 8, 8), (3, 2), stride=(3, 2)) == (3, 2)


def batch_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return normalise(x, *var_mean(x), weight, bias, 1e-5)


def test_batch_norm_is_torchs_and_so_are_its_first_and_second_derivatives() -> None:
    x, weight, bias = images(4, 3, 2, 2), images(3), images(3)
    theirs = F.batch_norm(x, None, None, weight, bias, True)
    torch.testing.assert_close(batch_norm(x, weight, bias), theirs)
    cotangents = [torch.randn_like(t) for t in (theirs, x, weight, bias)]

    def derivatives(y: torch.Tensor) -> list[torch.Tensor]:
        first = torch.autograd.grad(y, (x, weight, bias), cotangents[0], create_graph=True)
        return [*first, *torch.autograd.grad(first[:2], (x, weight), cotangents[1:3])]

    for ours, expected in zip(derivatives(batch_norm(x, weight, bias)), derivatives(theirs), strict=True):
        torch.testing.assert_close(ours, expected)
    assert torch.autograd.gradgradcheck(batch_norm, (x, weight, bias))


def test_variance_of_values_far_from_zero_keeps_its_digits() -> None:
    x = (1e4 + images(8, 2, 4, 4).detach()).float()
    torch.testing.assert_close(var_mean(x)[0].double(), x.double().var((0, 2, 3), correction=0), rtol=1e-3, atol=0)


def test_padding_counts_neither_in_value_nor_in_derivative() -> None:
    x = images(5, 3, 2, 2)
    counted = torch.tensor([True, True, False, True, True])
    for ours, expected in zip(var_mean(x, counted), var_mean(x[counted]), strict=True):
        torch.testing.assert_close(ours, expected)
    ours, expected = (torch.autograd.grad(v[0].prod(), x)[0] for v in (var_mean(x, counted), var_mean(x[counted])))
    torch.testing.assert_close(ours, expected)


def test_uncompiled_code_keeps_torchs_max_pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaft.elementary.fused.max_pool2d", lambda *_: pytest.fail("written out, uncompiled"))
    model = Functional(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.MaxPool2d(2)))
    assert model(model.params(), torch.randn(2, 1, 8, 8)).shape == (2, 2, 3, 3)


def test_windows_of_half_precision_and_of_integers_are_torchs() -> None:
    x = torch.zeros(1, 1, 17, 17, dtype=torch.bfloat16)
    x[0, 0, 15, 1], x[0, 0, 15, 2] = 1, 0.5
    assert torch.equal(max_pool2d(x, (17, 17)), F.max_pool2d(x, 17))
    whole = torch.arange(64).reshape(1, 1, 8, 8)
    assert torch.equal(max_pool2d(whole, (2, 2)), F.max_pool2d(whole, 2))


def test_statistics_of_many_values_in_half_precision_are_finite() -> None:
    variance, mean = var_mean(torch.randn(25, 4, 84, 84, generator=torch.Generator().manual_seed(0)).half())
    torch.testing.assert_close(variance.float(), torch.ones(4), atol=0.05, rtol=0)
    torch.testing.assert_close(mean.float(), torch.zeros(4), atol=0.05, rtol=0)
