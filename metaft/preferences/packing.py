"""Examples of unequal length in rows of one length, each seeing itself alone.

Krell et al. 2021, "Efficient sequence packing without cross-contamination".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.validate import require_count

Words = tuple[Sequence[int], Sequence[bool]]
"""The numbers of an example, and which of them are asked for."""


@dataclass(frozen=True)
class Packed:
    """Examples in rows.

    Args:
        ids: ``int64 [rows, length]``, 0 for padding.
        asked: ``bool [rows, length]``: which words are to be said, by the place before each.
        segments: ``int64 [rows, length]``: 1, 2, … for the examples of a row, 0 for padding; networks take them as
            ``model.last_states(ids, segments)``.
        owners: ``int64 [rows, length]``: which example a word is of, -1 for padding.
        examples: how many there are.
    """

    ids: Tensor = field(repr=False)
    asked: Tensor = field(repr=False)
    segments: Tensor = field(repr=False)
    owners: Tensor = field(repr=False)
    examples: int

    @property
    def filled(self) -> float:
        """The share of places that hold words."""
        return float((self.segments > 0).double().mean())


def first_fit_decreasing(lengths: Sequence[int], length: int) -> list[list[int]]:
    """Put things into rows: the longest first, each into the first row that has room (Johnson 1973).

    At most 11/9 of the fewest rows are needed, and 6/9 of one (Dósa 2007).

    Args:
        lengths: of the things, none above ``length``.
        length: of a row.

    Returns:
        The things of each row, in the order in which they were put there.
    """
    leaves = 1 << max(len(lengths) - 1, 0).bit_length()
    room = [length] * (2 * leaves)  # a tree: the most room of any row below each node; node 1 is the root
    rows: list[list[int]] = []
    for thing in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        node = 1
        while node < leaves:
            node = 2 * node if room[2 * node] >= lengths[thing] else 2 * node + 1
        if node - leaves == len(rows):
            rows.append([])
        rows[node - leaves].append(thing)
        room[node] -= lengths[thing]
        while node > 1:
            node //= 2
            room[node] = max(room[2 * node], room[2 * node + 1])
    return rows


def pack(examples: Sequence[Words], length: int) -> Packed:
    """Put examples into rows by `first_fit_decreasing`.

    Args:
        examples: numbers and which of them are asked for; the first word, which nothing stands before, is not.
        length: of a row.

    Returns:
        The rows.

    Raises:
        MetaftError: if an example is empty or longer than a row, holds padding, its mask does not fit it, or its first
            word is asked for.
    """
    require_count(length, "length", 1)
    for place, (words, mask) in enumerate(examples):
        if not 0 < len(words) <= length:
            raise MetaftError(f"example {place} has {len(words)} words, and a row has 1 to {length}; cut it")
        if len(words) != len(mask) or mask[0] or 0 in words:
            raise MetaftError(
                f"example {place}: expected as many asked as words ({len(mask)}, {len(words)}), the first not asked, "
                "and no number 0, which is padding"
            )
    rows = first_fit_decreasing([len(words) for words, _ in examples], length)
    shape = (len(rows), length)
    ids, segments = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    asked, owners = torch.zeros(shape, dtype=torch.bool), torch.full(shape, -1)
    for row, things in enumerate(rows):
        at = 0
        for segment, thing in enumerate(things, start=1):
            here = slice(at, at := at + len(examples[thing][0]))
            ids[row, here] = torch.tensor(examples[thing][0])
            asked[row, here] = torch.tensor(examples[thing][1])
            segments[row, here], owners[row, here] = segment, thing
    return Packed(ids, asked, segments, owners, len(examples))


def log_probabilities(model: Any, packed: Packed) -> Tensor:
    """Σ log p(word | all words of the example before it) over the asked words of each example, differentiable.

    Args:
        model: a causal network with ``last_states(ids, segments)`` and ``word_scores(states)``.
        packed: the examples, on its device.

    Returns:
        ``[examples]``; 0 for one of which nothing is asked.

    Raises:
        MetaftError: if the network cannot keep texts apart.
    """
    asked = packed.asked[:, 1:]
    scores = model.word_scores(model.last_states(packed.ids[:, :-1], packed.segments[:, :-1])[asked])
    each = scores.to(torch.promote_types(scores.dtype, torch.float32)).log_softmax(-1)
    said = each.gather(-1, packed.ids[:, 1:][asked].unsqueeze(-1)).squeeze(-1)
    return said.new_zeros(packed.examples).index_add(0, packed.owners[:, 1:][asked], said)
