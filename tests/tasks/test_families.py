"""Families are pure functions of (seed, index), and their tasks are what they claim to be."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import metaft
from metaft.data.images import LabelledImages
from metaft.tasks.episodes import Episodes, distinct


def numbered_images(counts=(20,) * 12):
    """Each image carries its class in its first pixel and its place within the class in its second."""
    images = torch.zeros(sum(counts), 1, 1, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images[:, 0, 0, 1] = torch.cat([torch.arange(c) for c in counts])
    return LabelledImages(images, torch.tensor(counts), tuple(f"c{i}" for i in range(len(counts))))


def read(x):
    """Class and place of each drawn image."""
    number = (x * 255).round().long()
    return number[..., 0, 0, 0], number[..., 0, 0, 1]


FAMILIES = {
    "sinusoid": lambda seed: metaft.families.sinusoid(seed=seed),
    "episodes": lambda seed: Episodes(numbered_images(), queries=5, seed=seed),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_is_pure_in_seed_and_index(name):
    family, again = FAMILIES[name](3), FAMILIES[name](3)
    later = again.batch(7, 4)
    again.batch(2, 9)
    for ours, theirs in zip(family.batch(7, 4).tensors(), later.tensors(), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(family.batch(8, 4).query_x, later.query_x)
    assert not torch.equal(FAMILIES[name](4).batch(7, 4).query_x, later.query_x)


def test_another_process_draws_the_same_tasks():
    code = "import metaft; print(metaft.families.sinusoid(seed=5).batch(11, 3).support_x.double().sum().item())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(other) == metaft.families.sinusoid(seed=5).batch(11, 3).support_x.double().sum().item()


def test_a_family_tells_which_data_it_draws_from(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path))
    asked = {"alphabets": 1, "size": 12, "rotations": False}
    upright = metaft.families.episodes("glyphs", split="val", **asked)
    turned = metaft.families.episodes("glyphs", split="val", **asked | {"rotations": True})
    told = upright.describe()
    assert json.loads(json.dumps(told)) == told
    assert told.items() >= asked.items()
    assert {k for k, v in turned.describe().items() if v != told[k]} == {"rotations", "classes"}
    assert metaft.families.sinusoid(tell=True).describe() != metaft.families.sinusoid().describe()


def test_splits_with_one_seed_draw_different_tasks():
    a, b = (metaft.families.sinusoid(seed=0, split=split).batch(0, 4) for split in ("train", "test"))
    assert not torch.equal(a.support_x, b.support_x)


@settings(deadline=None, max_examples=40)
@given(
    ways=st.integers(2, 12),
    shots=st.integers(1, 5),
    queries=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
    index=st.integers(0, 2**40),
)
def test_episodes_are_balanced_disjoint_and_labelled_right(ways, shots, queries, seed, index):
    family = Episodes(numbered_images(), ways=ways, shots=shots, queries=queries, seed=seed)
    batch = family.batch(index, 6)
    for x, y, each in ((batch.support_x, batch.support_y, shots), (batch.query_x, batch.query_y, queries)):
        assert x.shape == (6, ways * each, 1, 1, 2)
        assert all((torch.bincount(row, minlength=ways) == each).all() for row in y)
    support_class, support_place = read(batch.support_x)
    query_class, query_place = read(batch.query_x)
    for t in range(6):
        name_of = dict(zip(batch.support_y[t].tolist(), support_class[t].tolist(), strict=True))
        assert len(set(name_of.values())) == ways
        assert [name_of[y] for y in batch.query_y[t].tolist()] == query_class[t].tolist()
        seen = set(zip(support_class[t].tolist(), support_place[t].tolist(), strict=True))
        asked = set(zip(query_class[t].tolist(), query_place[t].tolist(), strict=True))
        assert len(seen) == ways * shots
        assert len(asked) == ways * queries
        assert not seen & asked


def test_label_order_does_not_follow_class_order():
    support_class, _ = read(Episodes(numbered_images(), queries=5).batch(0, 400).support_x)
    rising = (support_class.diff(dim=1) > 0).all(dim=1).float().mean()
    assert rising < 0.05  # 1 in 120 by chance


def test_every_class_and_example_is_drawn_equally_often():
    family = Episodes(numbered_images(), ways=5, shots=1, queries=5)
    classes, places = read(family.batch(0, 4000).query_x)
    for drawn, kinds in ((classes, 12), (places, 20)):
        share = torch.bincount(drawn.flatten(), minlength=kinds) / drawn.numel() * kinds
        assert (share - 1).abs().max() < 0.05


def test_classes_of_different_sizes_stay_within_their_examples():
    family = Episodes(numbered_images((4, 9, 20, 6)), ways=4, shots=1, queries=3)
    classes, places = read(family.batch(0, 500).query_x)
    limit = torch.tensor([4, 9, 20, 6])[classes]
    assert (places < limit).all()
    assert {int(places[classes == c].max()) for c in range(4)} == {3, 8, 19, 5}


def test_distinct_draws_every_ordered_sample_equally_often():
    draws = distinct(np.random.default_rng(0), 60_000, 4, 3)
    _, counts = np.unique(draws, axis=0, return_counts=True)
    assert len(counts) == 24
    assert np.abs(counts / 2500 - 1).max() < 0.12


def test_sinusoids_are_waves_within_their_ranges():
    batch = metaft.families.sinusoid(shots=50, queries=50).batch(0, 500)
    x, y = batch.support_x, batch.support_y
    assert x.min() >= -5
    assert x.max() <= 5
    # y = a·sin x + b·cos x: a least-squares fit recovers amplitude and phase, with nothing left over.
    basis = torch.cat([x.sin(), x.cos()], dim=-1).double()
    fit = torch.linalg.lstsq(basis, y.double()).solution
    assert (basis @ fit - y).abs().max() < 1e-4
    amplitude = fit.norm(dim=1).squeeze()
    phase = torch.atan2(-fit[:, 1, 0], fit[:, 0, 0])
    assert amplitude.min() >= 0.0999
    assert amplitude.max() <= 5.0001
    assert phase.min() >= -1e-3
    assert phase.max() <= np.pi + 1e-3
    assert abs(amplitude.mean() - 2.55) < 0.2
    assert abs(phase.mean() - np.pi / 2) < 0.2
    torch.testing.assert_close(basis.float() @ fit.float(), y, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ways": 13}, "13 ways asked for, but images .train. has only 12"),
        ({"ways": 1}, "ways must be a whole number of at least 2, not 1"),
        ({"shots": 0}, "shots must be a whole number of at least 1, not 0"),
        ({"shots": 10, "queries": 11}, "need 21 examples a class"),
    ],
)
def test_impossible_episodes_are_refused(options, says):
    with pytest.raises(metaft.MetaftError, match=says):
        Episodes(numbered_images(), **options)


def test_a_batch_whose_parts_do_not_fit_is_refused():
    with pytest.raises(metaft.MetaftError, match="agree"):
        metaft.TaskBatch(torch.rand(2, 3, 1), torch.rand(2, 4, 1), torch.rand(2, 3, 1), torch.rand(2, 3, 1))
