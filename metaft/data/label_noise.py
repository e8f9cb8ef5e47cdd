"""Wrong labels on purpose: some training examples are filed under another class, and the true one is kept aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from metaft.data.draws import draws
from metaft.data.examples import LabelledExamples
from metaft.errors import MetaftError, nearest

Noise = Literal["symmetric", "pairwise"]


@dataclass(frozen=True)
class NoisyExamples:
    """Examples some of which lie under a wrong class.

    Args:
        images: the examples, class by class as their labels now say.
        clean: ``int64 [examples]``, the true class of each, in the order of ``images``; for analysis alone.
        sources: ``int64 [examples]``, the place of each in the set that was made noisy.
        described: which noise it is, JSON-able.
    """

    images: LabelledExamples
    clean: Tensor
    sources: Tensor
    described: dict[str, object]

    @property
    def wrong(self) -> Tensor:
        """``bool [examples]``: whose label is not its true class."""
        return self.clean != torch.repeat_interleave(torch.arange(self.images.classes), self.images.counts)


def with_label_noise(images: LabelledExamples, noise: Noise, fraction: float, seed: int = 0) -> NoisyExamples:
    """File a fraction of all examples under another class.

    For *training* examples: what is validated and tested on keeps its labels. The wrong examples are drawn by a
    seed, and those of a smaller fraction are wrong in the same way under a larger one, so that fractions compare.

    Args:
        images: the examples.
        noise: "symmetric", any of the other classes alike; or "pairwise", the next class, the last one's being
            the first (both: Han et al. 2018, §4).
        fraction: of the examples that get a wrong label, in [0, 1), rounded to a whole number of examples.
        seed: which ones, and to which class.

    Returns:
        The examples and their true classes.

    Raises:
        MetaftError: if the noise is unknown, the fraction out of range, or there is only one class.
    """
    if noise not in get_args(Noise):
        raise MetaftError(f"unknown label noise {noise!r}{nearest(str(noise), get_args(Noise))}")
    if not 0 <= fraction < 1:
        raise MetaftError(f"label noise must be a fraction in [0, 1), not {fraction!r}")
    if images.classes < 2:
        raise MetaftError("label noise needs two classes at least: there is no other to file an example under")
    clean = torch.repeat_interleave(torch.arange(images.classes), images.counts)
    stream = draws(seed, f"label noise/{noise}")
    order = torch.from_numpy(stream.permutation(len(clean)))
    steps = torch.from_numpy(stream.integers(1, images.classes, len(clean)))
    chosen = order[: round(fraction * len(clean))]
    moved = torch.zeros_like(clean)
    moved[chosen] = steps[chosen] if noise == "symmetric" else 1
    labels = (clean + moved) % images.classes
    sources = labels.argsort(stable=True)
    filed = images.keep(sources, labels.bincount(minlength=images.classes))
    return NoisyExamples(
        filed, clean[sources], sources, {"label_noise": noise, "noise_fraction": fraction, "noise_seed": seed}
    )
