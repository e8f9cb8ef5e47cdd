"""Losses in closed form, their gradients, their limits and their ends."""

import math

import pytest
import torch
import torch.nn.functional as F

from metaft.distillation.losses import labels, matching_hidden, matching_logits, mixed, soft_targets
from metaft.errors import MetaftError


def drawn(examples=6, classes=5, scale=2.0):
    draw = torch.Generator().manual_seed(0)
    return (scale * torch.randn(2, examples, classes, generator=draw, dtype=torch.float64)).unbind(0)


def gradient(loss, scores):
    leaf = scores.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf).mean(), leaf)[0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_soft_targets_are_t_squared_times_the_kl_of_a_plain_loop(temperature):
    z, v = drawn()
    for found, own, taught in zip(soft_targets(z, v, temperature), z.tolist(), v.tolist(), strict=True):
        p, q = ([math.exp(s / temperature) for s in row] for row in (taught, own))
        p, q = ([value / sum(row) for value in row] for row in (p, q))
        kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        assert float(found) == pytest.approx(temperature**2 * kl, rel=1e-10)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_the_gradient_is_t_times_the_difference_of_probabilities(temperature):
    z, v = drawn()
    expected = temperature * ((z / temperature).softmax(-1) - (v / temperature).softmax(-1)) / len(z)
    torch.testing.assert_close(gradient(lambda own: soft_targets(own, v, temperature), z), expected)


def test_the_gradient_keeps_its_size_over_temperatures():
    z, v = drawn()
    norms = [float(gradient(lambda own, t=t: soft_targets(own, v, t), z).norm()) for t in (5, 20, 100, 1000)]
    assert max(norms) / min(norms) < 1.3  # without T² the last would be 40,000 times smaller than the first


def test_averaged_over_examples_and_summed_over_classes():
    z, v = drawn()
    assert soft_targets(z, v, 3.0).shape == (6,)
    doubled = soft_targets(torch.cat([z, z]), torch.cat([v, v]), 3.0).mean()
    torch.testing.assert_close(doubled, soft_targets(z, v, 3.0).mean())
    # classes that nobody believes in change nothing: a mean over classes would
    apart = torch.full((6, 20), -1e4, dtype=torch.float64)
    wide = soft_targets(torch.cat([z, apart], 1), torch.cat([v, apart], 1), 3.0)
    torch.testing.assert_close(wide, soft_targets(z, v, 3.0))


def test_at_high_temperature_it_is_matching_of_centred_logits_by_classes():
    z, v = drawn()
    centred = [s - s.mean(-1, keepdim=True) for s in (z, v)]
    expected = matching_logits(*centred) / z.shape[1]
    torch.testing.assert_close(soft_targets(z, v, 1e4), expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(
        gradient(lambda own: soft_targets(own, v, 1e4), z), (centred[0] - centred[1]) / z.shape[1] / len(z),
        rtol=1e-2, atol=1e-6,
    )  # fmt: skip
    # the logits' own mean is what it does not see
    torch.testing.assert_close(soft_targets(z + 3, v, 1e4), soft_targets(z, v, 1e4), rtol=1e-6, atol=1e-8)
    assert float((matching_logits(z + 3, v) - matching_logits(z, v)).abs().max()) > 1


def test_hard_teachers_make_cross_entropy():
    z, _ = drawn()
    truth = torch.arange(6) % 5
    sure = torch.where(F.one_hot(truth, 5) > 0, 1e4, 0.0).double()
    torch.testing.assert_close(soft_targets(z, sure, 1.0), F.cross_entropy(z, truth, reduction="none"))


def test_a_teacher_that_is_oneself_teaches_nothing():
    z, _ = drawn()
    assert float(soft_targets(z, z, 4.0).abs().max()) < 1e-12
    assert float(gradient(lambda own: soft_targets(own, z, 4.0), z).abs().max()) < 1e-12


def test_logits_in_closed_form():
    z, v = drawn()
    assert matching_logits(z, v).tolist() == pytest.approx(
        [
            sum((a - b) ** 2 for a, b in zip(own, taught, strict=True)) / 2
            for own, taught in zip(z.tolist(), v.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(gradient(lambda own: matching_logits(own, v), z), (z - v) / len(z))


def test_hidden_representations():
    h, g = drawn()
    torch.testing.assert_close(matching_hidden(h, g), (h - g).square().sum(-1) / 2)
    unit = [f / f.norm(dim=-1, keepdim=True) for f in (h, g)]
    torch.testing.assert_close(matching_hidden(h, g, cosine=True), matching_hidden(*unit))
    torch.testing.assert_close(matching_hidden(5 * h, g, cosine=True), matching_hidden(h, g, cosine=True))
    with pytest.raises(MetaftError, match=r"student \[6, 5\] and teacher \[6, 4\] differ; map"):
        matching_hidden(h, g[:, :4])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothed_labels_are_cross_entropy_to_the_smoothed_target(smoothing):
    z, _ = drawn()
    truth = torch.arange(6) % 5
    target = (1 - smoothing) * F.one_hot(truth, 5).double() + smoothing / 5
    torch.testing.assert_close(labels(z, truth, smoothing), -(target * z.log_softmax(-1)).sum(-1))
    torch.testing.assert_close(
        gradient(lambda own: labels(own, truth, smoothing), z), (z.softmax(-1) - target) / len(z)
    )


def test_the_weight_is_of_the_labels_and_its_ends_are_exact():
    z, v = drawn()
    soft, hard = soft_targets(z, v, 4.0), labels(z, torch.arange(6) % 5)
    assert torch.equal(mixed(soft, hard, 1), hard)
    assert torch.equal(mixed(soft, hard, 0), soft)  # T² and all
    torch.testing.assert_close(mixed(soft, hard, 0.25), 0.75 * soft + 0.25 * hard)
    nothing = torch.full_like(soft, torch.inf)
    assert torch.equal(mixed(nothing, hard, 1.0), hard)
    assert torch.equal(mixed(soft, nothing, 0.0), soft)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf, True])
def test_temperatures_that_are_none(temperature):
    with pytest.raises(MetaftError, match="temperature must be a number above 0, not"):
        soft_targets(*drawn(), temperature)


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_weights_out_of_range(weight):
    with pytest.raises(MetaftError, match=r"label_weight must lie in \[0, 1\], not"):
        mixed(torch.ones(2), torch.ones(2), weight)


def test_smoothing_out_of_range():
    with pytest.raises(MetaftError, match="label_smoothing must lie in"):
        labels(drawn()[0], torch.zeros(6, dtype=torch.int64), 1.0)


@pytest.mark.parametrize("loss", [matching_logits, lambda z, v: soft_targets(z, v, 4.0)])
def test_other_classes_or_examples_are_refused(loss):
    z, v = drawn()
    with pytest.raises(MetaftError, match="student tells 5 classes apart and the teacher 4"):
        loss(z, v[:, :4])
    with pytest.raises(MetaftError, match=r"\[6, 5\] and teacher \[1, 5\] differ in shape"):
        loss(z, v[:1])
