"""A language model as a policy: pure functions of its parameters, of what it says and of what that is worth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metaft.data.texts.labelled_texts import PADDING

Params = Mapping[str, Tensor]
WORDS = 2**11
"""Words in one pass, with their padding: more gain nothing on a CPU, and it bounds memory."""
VALUE = "value."
"""What the parameters begin with that say what a text is worth so far."""


class Policy:
    """What a causal network says, and what it thinks of texts, as functions of its parameters.

    Args:
        model: with ``last_states(ids)`` and ``word_scores(states)``; ``model(ids)`` gives a text's reward. It is not
            copied.
        valued: whether it has a value for each place besides, linear in its last state and 0 at the start.
    """

    def __init__(self, model: nn.Module, valued: bool = False) -> None:
        self.module = _Answering(model, valued)
        self.names = tuple(name for name, _ in model.named_parameters())

    @property
    def params(self) -> dict[str, Tensor]:
        """All parameters, by the network's own names; those of values begin with `VALUE`."""
        return {name.removeprefix("model."): p.detach() for name, p in self.module.named_parameters()}

    def log_probabilities(self, params: Params, ids: Tensor, asked: Tensor, segments: Tensor | None = None) -> Tensor:
        """log p of each asked word behind all words before it (Rafailov et al. 2023, §3).

        Args:
            params: by name.
            ids: ``int64 [texts, places]``, 0 for padding.
            asked: ``bool [texts, places]``, not the first place.
            segments: ``int64 [texts, places]``, which of several texts in a row each word is of; None if there is one.

        Returns:
            ``[texts, places]``, 0 where none is asked for.
        """
        scores, _, _ = self._run(params, ids, asked, segments)
        said = scores.log_softmax(-1).gather(-1, ids[asked].unsqueeze(-1)).squeeze(-1)
        return said.new_zeros(ids.shape).masked_scatter(asked, said)

    def scores_and_values(self, params: Params, ids: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Scores for the words that could stand at each asked place, and the value of the text before it.

        Args:
            params: by name.
            ids: as `log_probabilities`.
            asked: likewise.

        Returns:
            ``[asked, vocabulary]`` and ``[asked]``, text by text.
        """
        scores, values, _ = self._run(params, ids, asked)
        assert values is not None
        return scores, values

    def rewards(self, params: Params, ids: Tensor) -> Tensor:
        """What each text is worth by the network's head.

        Args:
            params: by name.
            ids: ``int64 [texts, places]``, 0 for padding.

        Returns:
            ``[texts]``.
        """
        _, _, rewards = self._run(params, ids, None)
        assert rewards is not None
        return rewards

    @contextlib.contextmanager
    def holding(self, params: Params) -> Iterator[Any]:
        """The network itself with these parameters, in evaluation mode, for what asks it word by word.

        Args:
            params: by name.
        """
        own = dict(self.module.model.named_parameters())
        before = {name: p.data for name, p in own.items()}
        for name, p in own.items():
            p.data = params[name]
        try:
            yield self.module.model.eval()
        finally:
            for name, p in own.items():
                p.data = before[name]

    def _run(
        self, params: Params, ids: Tensor, asked: Tensor | None, segments: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        own = {name if name.startswith(VALUE) else f"model.{name}": value for name, value in params.items()}
        found: tuple[Tensor, Tensor | None, Tensor | None] = functional_call(self.module, own, (ids, asked, segments))
        return found


class _Answering(nn.Module):
    """All that is asked of a network, in a forward pass."""

    def __init__(self, model: Any, valued: bool) -> None:
        super().__init__()
        self.model = model
        width = model.word_vectors(torch.tensor([PADDING])).shape[-1]
        self.value = nn.Linear(width, 1).to(next(model.parameters()).dtype) if valued else None
        if self.value is not None:
            nn.init.zeros_(self.value.weight)
            nn.init.zeros_(self.value.bias)

    def forward(
        self, ids: Tensor, asked: Tensor | None, segments: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if asked is None:
            return ids, None, self.model(ids).squeeze(-1)
        # What a place says is the word behind it; the last place is not read.
        apart = () if segments is None else (segments[:, :-1],)
        states = self.model.last_states(ids[:, :-1], *apart)[asked[:, 1:]]
        values = None if self.value is None else self.value(states).squeeze(-1)
        scores = self.model.word_scores(states)
        return scores.float() if scores.dtype in (torch.bfloat16, torch.float16) else scores, values, None


def portions(ids: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Rows of like length together, no more than `WORDS` in a portion.

    Args:
        ids: ``int64 [rows, …, places]``, 0 for padding at the end.

    Yields:
        Numbers of rows ``[portion]`` and the places that the longest of them has, from the longest texts on.
    """
    lengths = (ids != PADDING).flatten(1, -2).sum(-1).amax(1) if ids.dim() > 2 else (ids != PADDING).sum(-1)
    width = ids[0].numel() // ids.shape[-1]
    order = lengths.argsort(descending=True, stable=True)
    first = 0
    while first < len(order):
        longest = max(int(lengths[order[first]]), 2)
        size = max(1, WORDS // (longest * width))
        yield order[first : first + size], longest
        first += size
