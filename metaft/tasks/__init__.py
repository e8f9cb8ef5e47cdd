"""Task families by the names users call them: ``metaft.families.sinusoid(...)``, ``metaft.families.episodes(...)``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metaft.data.examples import LabelledExamples
from metaft.data.images import LabelledImages
from metaft.errors import MetaftError
from metaft.parts import load
from metaft.tasks.batch import TaskBatch
from metaft.tasks.episodes import Episodes
from metaft.tasks.family import TaskFamily
from metaft.tasks.grouped import GroupedEpisodes
from metaft.tasks.ragged import RaggedEpisodes
from metaft.tasks.sinusoid import Sinusoids as sinusoid
from metaft.tasks.table import table
from metaft.tasks.through_learn2learn import Learn2LearnTasks as learn2learn
from metaft.tasks.too_few import too_few_classes
from metaft.validate import count_range, require_count

__all__ = ["TaskBatch", "TaskFamily", "episodes", "episodes_of", "learn2learn", "sinusoid", "table"]


def episodes(
    dataset: str,
    ways: int | tuple[int, int] = 5,
    shots: int | tuple[int, int] = 1,
    queries: int = 15,
    split: str = "train",
    seed: int = 0,
    root: str | Path | None = None,
    channels: int | None = None,
    within: str | None = None,
    tokenizer: str | None = None,
    max_words: int | None = None,
    **options: object,
) -> Episodes:
    """N-way K-shot episodes over a data set known by name.

    Args:
        dataset: "omniglot", "glyphs", "intents", "texts", … (see ``metaft data``).
        ways: classes a task; ``(3, 7)`` draws their number task by task (see ``metaft.tasks.ragged``).
        shots: support examples a class, likewise.
        queries: query examples a class.
        split: "train", "val" or "test", whose classes never overlap; of some data sets of texts they are the same, and
            then their examples never do; or "all", the classes of all three.
        seed: which sequence of tasks.
        root: where the data set's files lie; by default ``METAFT_DATA``, then ``./data``; the user's own, itself.
        channels: 1 turns colour images grey, 3 the reverse; None leaves them as they are.
        within: what the ways of a task have in common, such as "domain" for intents; None draws them from all classes.
        tokenizer: of texts: "wordpiece:size=4096" (the default), trained on the training classes; "hf:minilm", or the
            path of a ``tokenizer.json``.
        max_words: of texts, how many words one may have; what is longer is cut. None for the data set's own number, 512
            for newsgroups20, or any.
        options: the data set's own (``scheme``, ``size``, ``rotations``, …; see its entry in the catalog).

    Returns:
        The family.

    Raises:
        MetaftError: if the data set is unknown or absent, or its classes or examples do not suffice.
    """
    from metaft.data import catalog

    if catalog.dataset(dataset).texts is not None:
        if channels is not None:
            raise MetaftError(f"channels = {channels} are of images, and {dataset} has texts; leave it out")
        return _of_texts(dataset, ways, shots, queries, split, seed, root, within, tokenizer, max_words, options)
    for name, given in (("within", within), ("tokenizer", tokenizer), ("max_words", max_words)):
        if given is not None:
            raise MetaftError(f"{name} = {given!r} is for texts, and {dataset} has images; leave it out")
    images = catalog.load_images(dataset, split, root=root, **options)
    division, most = catalog.dataset(dataset).division, max(count_range(ways, "ways", 2))
    if division is not None and most > images.classes and not options.get("rotations"):
        raise MetaftError(too_few_classes(most, dataset, split, division(split, root=root, **options)))
    # A data set's own seed is its default here: `seed` is the family's.
    details = {k: v for k, v in {**catalog.dataset(dataset).options, **options}.items() if k != "seed"}
    return episodes_of(images, ways, shots, queries, split, seed, dataset, channels, details)


def _of_texts(
    dataset: str,
    ways: int | tuple[int, int],
    shots: int | tuple[int, int],
    queries: int,
    split: str,
    seed: int,
    root: str | Path | None,
    within: str | None,
    tokenizer: str | None,
    max_words: int | None,
    options: Mapping[str, object],
) -> Episodes:
    from metaft.data import catalog
    from metaft.data.texts import sets

    info = catalog.dataset(dataset)
    most = info.max_words if max_words is None else require_count(max_words, "max_words", 4)
    tokens, asked = sets.load(info, split, root, tokenizer, options, most)
    largest = max(count_range(ways, "ways", 2))
    if info.division is not None and largest > tokens.classes and not tokens.shared:
        raise MetaftError(too_few_classes(largest, dataset, split, info.division(split, root=root, **options)))
    details = {**info.options, **options, "tokenizer": asked, **({} if most is None else {"max_words": most})}
    if info.tasks:
        _require_plain(dataset, within, ways, shots)
        drawn: Episodes = load(info.tasks)(
            tokens, details, ways=ways, shots=shots, queries=queries, seed=seed, dataset=dataset, split=split
        )
        return drawn
    if within is None:
        return episodes_of(tokens, ways, shots, queries, split, seed, dataset, None, details)
    if isinstance(ways, tuple) or isinstance(shots, tuple):
        raise MetaftError(f"within = {within!r} takes one number of ways and shots, no range")
    if within != info.groups:
        known = f"; it has {info.groups!r}" if info.groups else ""
        raise MetaftError(f"within = {within!r}: the classes of {dataset} have no {within}{known}")
    return GroupedEpisodes(tokens, ways, shots, queries, seed, dataset, split, details, within)


def _require_plain(dataset: str, within: str | None, ways: object, shots: object) -> None:
    """Refuse what is of episodes alone."""
    if within is not None:
        raise MetaftError(f"within = {within!r}: tasks of {dataset} are no episodes of classes; leave it out")
    if isinstance(ways, tuple) or isinstance(shots, tuple):
        raise MetaftError(f"{dataset} takes one number of ways and shots, no range")


def episodes_of(
    images: LabelledExamples,
    ways: int | tuple[int, int] = 5,
    shots: int | tuple[int, int] = 1,
    queries: int = 15,
    split: str = "train",
    seed: int = 0,
    name: str = "images",
    channels: int | None = None,
    details: Mapping[str, object] | None = None,
) -> Episodes:
    """N-way K-shot episodes over examples that are at hand.

    Args:
        images: the classes of this split, as images or texts.
        ways: as for ``episodes``.
        shots: as for ``episodes``.
        queries: query examples a class.
        split: the split's name.
        seed: which sequence of tasks.
        name: the data set's, for the record.
        channels: as for ``episodes``.
        details: the data set's options, for the record.

    Returns:
        The family.

    Raises:
        MetaftError: if the classes or examples do not suffice.
    """
    told = dict(details or {})
    if channels is not None:
        if not isinstance(images, LabelledImages):
            raise MetaftError(f"channels = {channels} are of images, and {name} has texts")
        images = images.with_channels(channels)
        told["channels"] = channels
    (least_ways, ways), (least_shots, shots) = count_range(ways, "ways", 2), count_range(shots, "shots", 1)
    if (least_ways, least_shots) == (ways, shots):
        return Episodes(images, ways, shots, queries, seed, name, split, told)
    return RaggedEpisodes(images, ways, shots, queries, seed, name, split, told, least_ways, least_shots)
