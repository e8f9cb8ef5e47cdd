"""What holds for episodes of any shape, over data of any shape."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metaft.data.images import LabelledImages
from metaft.tasks.episodes import Episodes


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Episodes, LabelledImages, int, int]:
    ways, shots, queries = draw(st.integers(2, 6)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    counts = draw(st.lists(st.integers(shots + queries, 12), min_size=ways, max_size=9))
    # Every example is an image of its own: its number, in two bytes.
    number = torch.arange(sum(counts))
    images = torch.stack([number // 256, number % 256], -1).to(torch.uint8).view(-1, 1, 1, 2)
    data = LabelledImages(images, torch.tensor(counts), tuple(map(str, range(len(counts)))))
    seed = draw(st.integers(0, 2**32 - 1))
    return Episodes(data, ways, shots, queries, seed=seed), data, draw(st.integers(0, 2**40)), draw(st.integers(1, 5))


def numbers(x: torch.Tensor) -> torch.Tensor:
    """Which examples these are: ``[tasks, examples]``."""
    bytes_ = (x.flatten(2) * 255).round().long()
    return bytes_[..., 0] * 256 + bytes_[..., 1]


@settings(max_examples=60, deadline=None)
@given(drawn())
def test_episodes(case: tuple[Episodes, LabelledImages, int, int]) -> None:
    family, data, index, tasks = case
    batch = family.batch(index, tasks)
    support, query = numbers(batch.support_x), numbers(batch.query_x)
    owner = torch.repeat_interleave(torch.arange(data.classes), data.counts)
    for t in range(tasks):
        chosen = torch.cat([support[t], query[t]]).tolist()
        assert len(set(chosen)) == len(chosen), "an example twice: support and query must be disjoint"
        labels = torch.cat([batch.support_y[t], batch.query_y[t]])
        classes = owner[torch.tensor(chosen)]
        pairs = set(zip(labels.tolist(), classes.tolist(), strict=True))
        # One class a label and one label a class: labels say which class it is, and nothing else.
        assert len(pairs) == len({label for label, _ in pairs}) == len({c for _, c in pairs})
        for y, each in ((batch.support_y[t], len(support[t])), (batch.query_y[t], len(query[t]))):
            counts = y.bincount()
            assert (counts == each // len(counts)).all(), "every class as often as the others"


@settings(max_examples=30, deadline=None)
@given(drawn())
def test_a_batch_is_a_pure_function_of_its_index(case: tuple[Episodes, LabelledImages, int, int]) -> None:
    family, data, index, tasks = case
    once = family.batch(index, tasks)
    family.batch(index + 1, tasks)
    torch.rand(3)
    again = Episodes(data, family.ways, family.shots, family.queries, seed=family.seed).batch(index, tasks)
    assert all(torch.equal(a, b) for a, b in zip(once.tensors(), again.tensors(), strict=True))
