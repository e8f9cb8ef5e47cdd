"""Calibration, agreement and entropy against plain loops over examples."""

import math

import pytest
import torch

from metaft.errors import MetaftError
from metaft.evaluation.calibration import agreement, entropy, expected_calibration_error, mean_entropy


def drawn(examples=400, classes=5):
    draw = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(examples, classes, generator=draw, dtype=torch.float64)
    return scores, torch.randint(0, classes, (examples,), generator=draw)


def by_loop(probabilities, labels, bins):
    total = 0.0
    for m in range(bins):
        inside = [
            (max(p), int(p.index(max(p)) == y))
            for p, y in zip(probabilities.tolist(), labels.tolist(), strict=True)
            if m / bins < max(p) <= (m + 1) / bins
        ]
        if inside:
            confidence, right = (sum(column) / len(inside) for column in zip(*inside, strict=True))
            total += len(inside) / len(labels) * abs(right - confidence)
    return total


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_ece_is_that_of_a_plain_loop(bins):
    scores, labels = drawn()
    found = expected_calibration_error(scores.softmax(-1), labels, bins)
    assert float(found) == pytest.approx(by_loop(scores.softmax(-1), labels, bins), abs=1e-12)


def test_ece_of_known_cases():
    sure = torch.eye(4, dtype=torch.float64)
    assert float(expected_calibration_error(sure, torch.arange(4))) == 0
    assert float(expected_calibration_error(sure, (torch.arange(4) + 1) % 4)) == 1
    half = torch.full((10, 2), 0.5, dtype=torch.float64)  # on the border of two bins of four: it belongs below
    assert float(expected_calibration_error(half, torch.zeros(10, dtype=torch.int64), 4)) == pytest.approx(0.5)


def test_opposite_errors_in_one_bin_cancel_and_in_two_do_not():
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4]], dtype=torch.float64)
    labels = torch.tensor([1, 0])
    assert float(expected_calibration_error(probabilities, labels, 1)) == pytest.approx(abs(-0.9 + 0.4) / 2)
    assert float(expected_calibration_error(probabilities, labels, 15)) == pytest.approx((0.9 + 0.4) / 2)


def test_agreement_counts_equal_answers():
    scores, _ = drawn()
    teacher = scores.roll(1, 0)
    equal = sum(a.argmax() == b.argmax() for a, b in zip(scores, teacher, strict=True)) / len(scores)
    assert float(agreement(scores, teacher)) == pytest.approx(float(equal))
    assert float(agreement(scores, 2 * scores + 7)) == 1
    with pytest.raises(MetaftError, match=r"\[400, 5\] cannot agree with \[400, 4\]"):
        agreement(scores, scores[:, :4])


def test_entropy_of_soft_labels():
    scores, _ = drawn(20)
    found = entropy(scores.softmax(-1))
    for value, row in zip(found.tolist(), scores.softmax(-1).tolist(), strict=True):
        assert value == pytest.approx(-sum(p * math.log(p) for p in row))
    assert entropy(torch.eye(3)).tolist() == [0, 0, 0]
    assert float(mean_entropy(torch.full((2, 8), 1 / 8))) == pytest.approx(math.log(8))


@pytest.mark.parametrize(("examples", "bins"), [(0, 15), (3, 0)])
def test_nothing_to_calibrate_is_refused(examples, bins):
    with pytest.raises(MetaftError, match=f"calibration of {examples} examples in {bins} bins"):
        expected_calibration_error(torch.zeros(examples, 2), torch.zeros(examples, dtype=torch.int64), bins)
