"""Label noise: the right number of wrong labels, of the right kind, the truth kept aside; and classes left out."""

import pytest
import torch

from metaft.data.images import LabelledImages
from metaft.data.label_noise import with_label_noise
from metaft.data.leave_out import leave_out
from metaft.errors import MetaftError
from metaft.tasks.minibatches import Minibatches

COUNTS = torch.tensor([60, 30, 90, 70])
TRUTH = torch.repeat_interleave(torch.arange(4), COUNTS)


def marked():
    """Example i is an image of two pixels that hold i."""
    values = torch.arange(250, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 1, 2).contiguous()
    return LabelledImages(values, COUNTS, tuple("abcd"))


def filed(noisy):
    return torch.repeat_interleave(torch.arange(4), noisy.images.counts)


@pytest.mark.parametrize("noise", ["symmetric", "pairwise"])
@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.6, 0.99])
def test_so_many_labels_are_wrong_and_the_truth_is_kept(noise, fraction):
    noisy = with_label_noise(marked(), noise, fraction, seed=1)
    rows = noisy.images.images[:, 0, 0, 0].long()
    assert torch.equal(rows, noisy.sources)
    assert torch.equal(rows.sort().values, torch.arange(250))
    assert torch.equal(noisy.clean, TRUTH[rows])
    assert torch.equal(noisy.wrong, filed(noisy) != noisy.clean)
    assert int(noisy.wrong.sum()) == round(fraction * 250)
    if noise == "pairwise":
        assert torch.equal(filed(noisy)[noisy.wrong], (noisy.clean[noisy.wrong] + 1) % 4)
    assert noisy.described == {"label_noise": noise, "noise_fraction": fraction, "noise_seed": 1}


def test_without_noise_nothing_changes():
    noisy = with_label_noise(marked(), "symmetric", 0.0)
    assert torch.equal(noisy.images.images, marked().images)
    assert torch.equal(noisy.images.counts, COUNTS)


def test_symmetric_noise_goes_to_all_other_classes_alike():
    found = torch.zeros(4, 4)
    for seed in range(100):
        noisy = with_label_noise(marked(), "symmetric", 0.6, seed)
        found.view(-1).index_add_(0, noisy.clean * 4 + filed(noisy), torch.ones(250))
    shares = found / found.sum(1, keepdim=True)
    torch.testing.assert_close(shares, torch.eye(4) * 0.2 + 0.2, atol=0.02, rtol=0)  # 0.4 stay, 0.2 go to each other


def test_wrong_under_a_smaller_fraction_is_wrong_alike_under_a_larger_one():
    def labels(fraction):
        noisy = with_label_noise(marked(), "symmetric", fraction)
        return torch.empty(250, dtype=torch.int64).scatter(0, noisy.sources, filed(noisy))

    few, many = labels(0.2), labels(0.5)
    wrong = few != TRUTH
    assert torch.equal(few[wrong], many[wrong])


def test_a_seed_decides():
    first, again, other = (with_label_noise(marked(), "symmetric", 0.3, seed) for seed in (0, 0, 1))
    assert torch.equal(first.sources, again.sources)
    assert not torch.equal(first.sources, other.sources)


@pytest.mark.parametrize(("noise", "fraction", "message"), [
    ("symetric", 0.1, "unknown label noise 'symetric'; did you mean 'symmetric'"),
    ("symmetric", 1.0, r"a fraction in \[0, 1\), not 1.0"),
    ("pairwise", -0.1, "not -0.1"),
    ("pairwise", float("nan"), "not nan"),
])  # fmt: skip
def test_bad_noise_is_refused(noise, fraction, message):
    with pytest.raises(MetaftError, match=message):
        with_label_noise(marked(), noise, fraction)


def test_one_class_has_no_other():
    with pytest.raises(MetaftError, match="two classes at least"):
        with_label_noise(marked().select([0]), "symmetric", 0.1)


@pytest.mark.parametrize("names", [["b"], ["a"], ["d"], ["a", "b"], ["c", "d"]])
def test_a_class_left_out_has_no_example_and_stays_a_class(names):
    rest = leave_out(marked(), names)
    assert rest.names == tuple("abcd")
    kept = torch.tensor([name not in names for name in "abcd"])
    expected = kept[TRUTH].nonzero().flatten()
    assert torch.equal(rest.images[:, 0, 0, 0].long(), expected)
    family = Minibatches(rest)
    assert family.outputs == 4
    batch = family.batch(0, len(expected))
    assert torch.equal(batch.query_y[:, 0], TRUTH[expected][batch.rows])  # labels are right around the gap
    assert torch.equal((batch.query_x[:, 0, 0, 0, 0] * 255).round().long(), expected[batch.rows])


@pytest.mark.parametrize(("names", "message"), [
    (["e"], "there is none of that name; known: a, b, c, d"), (list("abcd"), "leaving out 4 of 4 classes leaves no"),
])  # fmt: skip
def test_leaving_out_what_is_not_there_or_everything_is_refused(names, message):
    with pytest.raises(MetaftError, match=message):
        leave_out(marked(), names)
