"""The next word: what GPT learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaft.data.texts.labelled_texts import PADDING
from metaft.language import samples
from metaft.language.corpus import TokenCorpus
from metaft.language.passages import Words, unasked
from metaft.tasks.batch import IGNORE


@dataclass(frozen=True, kw_only=True)
class Causal:
    """At each place the next word is to be said (Radford et al. 2018, eq. 1); a document stands between ``[CLS]`` and
    ``[SEP]``, or what the tokenizer has for them.
    """

    causal = True
    order = False
    special = 1

    def told(self, learner: Any, passages: Any, device: torch.device) -> dict[str, str]:
        """Beginnings of passages as the learner goes on with them."""
        return {"continued": samples.continued(learner, passages, device)}

    def asked(self, corpus: TokenCorpus, spans: Tensor, length: int, draw: np.random.Generator) -> Words:
        """As `Asking`: so many places, and the words after them."""
        begin, end = corpus.tokenizer.bounds()
        place = spans[:, :1] + torch.arange(length + 1) - 1  # one before the passage: what its first word follows
        ids = corpus.ids[place.clamp(0, len(corpus.ids) - 1)].long()
        ids = ids.masked_fill(place < spans[:, 2:3], begin)
        ids = ids.masked_fill(place == spans[:, 3:4], end).masked_fill(place > spans[:, 3:4], PADDING)
        x, y = ids[:, :-1].contiguous(), ids[:, 1:]
        y = torch.where(y == PADDING, unasked(y), y)
        return Words(x[:, :0], y[:, :0], x, y, layout="sequences", order=torch.full((len(x),), IGNORE))
