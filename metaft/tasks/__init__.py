"""Task families by the names users call them: ``metaft.families.sinusoid(...)``, ``metaft.families.episodes(...)``."""

from __future__ import annotations

from pathlib import Path

from metaft.tasks.batch import TaskBatch
from metaft.tasks.episodes import Episodes
from metaft.tasks.family import TaskFamily
from metaft.tasks.sinusoid import Sinusoids as sinusoid
from metaft.tasks.through_learn2learn import Learn2LearnTasks as learn2learn

__all__ = ["TaskBatch", "TaskFamily", "episodes", "learn2learn", "sinusoid"]


def episodes(
    dataset: str,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    split: str = "train",
    seed: int = 0,
    root: str | Path | None = None,
    **options: object,
) -> Episodes:
    """N-way K-shot episodes over a data set known by name.

    Args:
        dataset: "omniglot", "glyphs", … (see ``metaft data``).
        ways: classes a task.
        shots: support examples a class.
        queries: query examples a class.
        split: "train", "val" or "test"; their classes never overlap.
        seed: which sequence of tasks.
        root: where the data set's files lie; by default ``METAFT_DATA``, then ``./data``.
        options: the data set's own (``scheme``, ``size``, ``rotations``, …; see its entry in the catalog).

    Returns:
        The family.

    Raises:
        MetaftError: if the data set is unknown or absent, or its classes or examples do not suffice.
    """
    from metaft.data import catalog

    images = catalog.load_images(dataset, split, root=root, **options)
    # A data set's own seed is its default here: `seed` is the family's.
    details = {k: v for k, v in {**catalog.dataset(dataset).options, **options}.items() if k != "seed"}
    return Episodes(images, ways, shots, queries, seed, dataset, split, details)
