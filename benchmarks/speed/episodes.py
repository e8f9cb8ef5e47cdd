"""The episode row: tasks a second on one core, from the same uint8 images to float32 support and query sets."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.speed.clock import Entrant
from benchmarks.speed.row import US, Prepared, Row, attempt
from metaft.data.compat import learn2learn_module
from metaft.data.images import LabelledImages
from metaft.tasks import episodes
from metaft.tasks.episodes import Episodes

WAYS, SHOTS, QUERIES, TASKS = 5, 1, 15, 64


def prepare(name: str, quick: bool) -> Prepared:
    """Rotated Omniglot (background alphabets, training part), found as every command finds it."""
    return sampling(name, episodes("omniglot", ways=WAYS, shots=SHOTS, queries=QUERIES, split="train"))


def sampling(name: str, family: Episodes) -> Prepared:
    """Sample with one of the libraries.

    Args:
        name: "metaft" or "learn2learn".
        family: metaft's episodes; learn2learn is given their images.

    Returns:
        The entrant.
    """
    if name == US:
        count = itertools.count()
        return Prepared(Entrant(lambda: family.batch(next(count), TASKS), units=TASKS, threads=1))
    sample = attempt(lambda: task_dataset(family.images))
    return Prepared(None, sample) if isinstance(sample, str) else Prepared(Entrant(sample, units=1, threads=1))


def task_dataset(images: LabelledImages) -> Callable[[], tuple[Tensor, ...]]:
    """learn2learn's ``TaskDataset`` with its fused sampler, and the split of its examples into support and query.

    The images are turned into float32 after they are collated, once a task: the quickest way it allows.

    Args:
        images: the classes.

    Returns:
        A call that samples one task.
    """
    l2l = learn2learn_module()
    labels = torch.repeat_interleave(torch.arange(images.classes), images.counts).tolist()

    class Examples(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(labels)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return images.images[index], labels[index]

    dataset = l2l.data.MetaDataset(Examples(), indices_to_labels=dict(enumerate(labels)))
    by = l2l.data.transforms
    sampler = by.FusedNWaysKShots(dataset, n=WAYS, k=SHOTS + QUERIES)
    transforms = [sampler, *(step(dataset) for step in (by.LoadData, by.RemapLabels, by.ConsecutiveLabels))]
    tasks = l2l.data.TaskDataset(dataset, transforms, num_tasks=-1)
    support = torch.arange(WAYS * (SHOTS + QUERIES)) % (SHOTS + QUERIES) < SHOTS

    def sample() -> tuple[Tensor, ...]:
        x, y = tasks.sample()
        x = x.to(torch.float32).mul_(1 / 255)
        return x[support], y[support], x[~support], y[~support]

    return sample


ROWS = {
    "episodes": Row("Episodes, 5-way 1-shot, 15 queries, rotated Omniglot at 28×28, one core", "task",
                    (US, "learn2learn"), prepare, rivals=("learn2learn",), target_per_second=10_000)
}  # fmt: skip
