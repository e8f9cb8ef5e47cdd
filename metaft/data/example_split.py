"""Examples of each class divided into train, val and test, so that the *same classes* are told apart in all three."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from metaft.data import catalog, mnist
from metaft.data.draws import draws
from metaft.data.examples import LabelledExamples
from metaft.data.splits import SPLITS
from metaft.errors import MetaftError

E = TypeVar("E", bound=LabelledExamples)


@dataclass(frozen=True)
class ExampleSplit:
    """Three sets of other examples of the same classes.

    Args:
        train: what is learned from.
        val: what settings and checkpoints are chosen by.
        test: what is scored once, at the end.
    """

    train: LabelledExamples
    val: LabelledExamples
    test: LabelledExamples

    def __post_init__(self) -> None:
        if not self.train.names == self.val.names == self.test.names:
            raise MetaftError("train, val and test are to hold other examples of the same classes, in the same order")

    @property
    def digest(self) -> str:
        """A sha256 over the three sets' classes and examples, 64 hexadecimal digits, for the record."""
        return hashlib.sha256("".join(getattr(self, split).digest for split in SPLITS).encode()).hexdigest()


def divide(images: E, *, val: float = 0.1, test: float = 0.2, seed: int = 0) -> tuple[E, E, E]:
    """Divide the examples of each class by a seed.

    Args:
        images: the examples.
        val: how many of each class are for validation: a share below 1 (rounded), or a whole number of examples.
        test: likewise for testing; 0 for none.
        seed: which examples; pure in (seed, the classes' sizes).

    Returns:
        Train, val and test, each with all classes, examples in their stored order.

    Raises:
        MetaftError: if a number makes no sense, or leaves a class without an example where one is asked for.
    """
    to_val, to_test = _counts("val", val, images.counts), _counts("test", test, images.counts)
    for name, share, taken in (("val", val, to_val), ("test", test, to_test), ("train", 1, images.counts)):
        left = taken if name != "train" else images.counts - to_val - to_test
        if share and int(left.min()) < 1:
            short = int(left.argmin())
            raise MetaftError(
                f"class {images.names[short]!r} has {int(images.counts[short])} examples: val = {val} and test = "
                f"{test} leave none to {name}; ask for fewer, or for classes of more examples"
            )
    labels = images.labels
    keys = draws(seed, "example split").random(len(labels))
    order = torch.from_numpy(np.lexsort((keys, labels.numpy())))  # each class's rows in random order
    place = torch.arange(len(labels)) - images.starts[labels]
    is_test, is_val = place < to_test[labels], place < (to_test + to_val)[labels]
    return (
        images.keep(order[~is_val].sort().values, images.counts - to_val - to_test),
        images.keep(order[is_val & ~is_test].sort().values, to_val),
        images.keep(order[is_test].sort().values, to_test),
    )


def load_example_split(
    dataset: str,
    *,
    val: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    classes: str = "train",
    root: str | Path | None = None,
    **options: object,
) -> ExampleSplit:
    """Load a data set's classes with their examples divided.

    MNIST keeps its official 10,000 test images, and ``test`` has no effect: its 60,000 training images are divided
    into train and val. Elsewhere a drawing's rotations fall into one part together, though they are other classes.

    Args:
        dataset: its name.
        val: as for :func:`divide`.
        test: as for :func:`divide`.
        seed: as for :func:`divide`.
        classes: of which split of the classes; those of the other splits stay unseen, for few-shot tasks.
        root: where files are looked for first.
        options: of the data set.

    Returns:
        The three sets.

    Raises:
        MetaftError: as :func:`divide` and ``catalog.load_images``.
    """
    if dataset == "mnist":
        # Its options are checked where everyone's are.
        official = catalog.load_images(dataset, "test", root, **options)
        train, held_out, _ = divide(mnist.digits("train", root=root, **options), val=val, test=0, seed=seed)  # type: ignore[arg-type]
        return ExampleSplit(train, held_out, official)
    rotates = "rotations" in catalog.dataset(dataset).options
    rotated = rotates and options.get("rotations", catalog.dataset(dataset).options["rotations"])
    plain = {**options, "rotations": False} if rotates else options
    parts = divide(catalog.load_images(dataset, classes, root, **plain), val=val, test=test, seed=seed)
    return ExampleSplit(*(part.with_rotations() if rotated else part for part in parts))


def _counts(name: str, asked: float, counts: Tensor) -> Tensor:
    """How many examples of each class, ``int64 [classes]``."""
    whole = asked >= 1 and asked == int(asked) if math.isfinite(asked) else False
    if isinstance(asked, bool) or not (0 <= asked < 1 or whole):
        raise MetaftError(f"{name} must be a share in [0, 1) or a whole number of examples a class, not {asked!r}")
    return torch.full_like(counts, int(asked)) if whole else (counts * asked).round().long()
