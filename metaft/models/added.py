"""Parameters beside a layer's own, as a child of that layer (see ``metaft.additions``)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from metaft.data.texts.labelled_texts import PADDING


class Added(nn.Module):
    """The parameters of an addition beside one layer; it is that layer's child and never runs by itself.

    Args:
        addition: whose they are.
        piece: what they do there.
        own: by name; a parameter that stands beside several layers is one object.
    """

    active = True
    """Whether it acts."""
    _given: Tensor | None = None

    def __init__(self, addition: Any, piece: Any, own: dict[str, nn.Parameter]) -> None:
        super().__init__()
        self.addition, self.piece = addition, piece
        for name, value in own.items():
            self.register_parameter(name, value)
        self.dropout = nn.Dropout(piece.dropout) if piece.dropout else None

    def own(self) -> dict[str, Tensor]:
        """The parameters as they are now: those that a functional call has put in place."""
        return {name: getattr(self, name) for name in self._parameters}

    def recall(self, x: Tensor) -> None:
        """Keep what the layer is given until it has answered, if the piece asks for that."""
        self._given = x if self.piece.recalls else None

    def recalled(self, x: Tensor) -> Tensor:
        """What was kept, which is kept no longer; the layer's input if nothing was."""
        given, self._given = self._given, None
        return x if given is None else given

    def dropped(self, x: Tensor) -> Tensor:
        """The layer's input as the piece sees it; in training, some of it is dropped if the piece wants that."""
        return x if self.dropout is None else self.dropout(x)


def beside(layer: nn.Module) -> list[Added]:
    """What stands beside a layer and acts."""
    return [child for child in layer.children() if isinstance(child, Added) and child.active]


def word_by_word(model: nn.Module) -> bool:
    """Whether all that is put into a network acts on each word by itself, or on an attention's keys and values."""
    return all(part.piece.word_by_word for part in model.modules() if isinstance(part, Added) and part.active)


def places_before(reading: nn.Module) -> int:
    """How many places the text stands behind that hold no word.

    Args:
        reading: where a network takes words in.
    """
    return sum(int(added.piece.shift) for added in beside(reading))


def own_words(ids: Tensor, vocabulary: int) -> Tensor:
    """Words without those that an addition gives.

    Args:
        ids: ``int64 [examples, places]``; an addition's words have numbers from the vocabulary's size on.
        vocabulary: how many words there are.

    Returns:
        Likewise, 0, as for padding, in their places.
    """
    return ids.where(ids < vocabulary, PADDING)


def own_places(states: Tensor, ids: Tensor, places: int, vocabulary: int) -> Tensor:
    """The states of a text's own places.

    Args:
        states: ``[examples, all places, width]``.
        ids: ``int64 [examples, all places]``, with an addition's words.
        places: how many of them are the text's and its padding's.
        vocabulary: how many words there are; an addition's have numbers from there on.

    Returns:
        ``[examples, places, width]``.
    """
    if ids.shape[-1] == places:
        return states
    own = (ids >= vocabulary).long().argsort(dim=-1, stable=True)[..., :places]
    return states.gather(-2, own.unsqueeze(-1).expand(*own.shape, states.shape[-1]))
