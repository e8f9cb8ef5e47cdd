"""What a network makes of real words: the keys and values of its attentions, and what its layers are given."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metaft.additions.addition import Params, Piece
from metaft.additions.linear import matrix
from metaft.additions.places import watched
from metaft.additions.prompt_start import tokenizer_of
from metaft.additions.virtual_words import word_layer
from metaft.errors import MetaftError
from metaft.models.added import Added, beside
from metaft.validate import require_count, require_positive

_NOTING = "noting"


class _Noting(Piece):
    """Beside an attention: keeps the keys and values of the last pass."""

    def __init__(self) -> None:
        self.seen: tuple[Tensor, Tensor] | None = None

    def attended(
        self, own: Params, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        self.seen = key.detach(), value.detach()
        return key, value, mask


def check_words(
    length: int | None, epsilon: float, text: str | None, words: tuple[int, ...] | None, whose: str
) -> None:
    """Refuse options that do not go together.

    Args:
        length: how many places are learned.
        epsilon: bound of what they begin as, without words.
        text: to begin from.
        words: likewise, by number.
        whose: the addition, for the message.

    Raises:
        MetaftError: saying which.
    """
    require_positive(epsilon, f"the epsilon of {whose}")
    if length is not None:
        require_count(length, f"the length of {whose}", 1)
    if text is not None and words is not None:
        raise MetaftError(f"{whose}: text and words say both what it begins from; leave one of them out")
    if length is not None and (text is not None or words is not None):
        raise MetaftError(f"{whose}: the words that it begins from have a length of their own; leave length out")
    if words is not None and (not words or min(words) < 1):
        raise MetaftError(f"{whose}: words = {words}: should be numbers of words from 1 on; 0 is padding")


def asked_words(model: nn.Module, text: str | None, words: tuple[int, ...] | None, whose: str) -> Tensor | None:
    """The words that an addition begins from, as one text.

    Args:
        model: the network that is to read them.
        text: the words.
        words: or their numbers.
        whose: the addition, for the message.

    Returns:
        ``int64 [1, words]``; None if neither is given.

    Raises:
        MetaftError: if the network's tokenizer is not known, or the network does not have one of them.
    """
    if text is not None:
        words = tuple(tokenizer_of(model, f"{whose}: text = {text[:60]!r}").pieces([text])[0].tolist())
        if not words:
            raise MetaftError(f"{whose}: text = {text!r} holds no words")
    if words is None:
        return None
    layer = matrix(model.get_submodule(word_layer(model, whose)))
    if max(words) >= len(layer):
        raise MetaftError(f"{whose}: words = {max(words)}: this {type(model).__name__} has words 1 to {len(layer) - 1}")
    return torch.tensor([words], device=layer.device)


def keys_and_values(model: nn.Module, attentions: Sequence[str], ids: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """The keys and values that each attention's queries see.

    Args:
        model: the network; its additions do not act here.
        attentions: names of layers.
        ids: ``int64 [examples, places]``.

    Returns:
        Attention → ``[examples, heads, places, size]`` twice; none for one that does not use
        `metaft.models.attention.attend`.
    """
    other = _bare(model)
    for name in attentions:
        other.get_submodule(name).add_module(_NOTING, Added(None, _Noting(), {}))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        other(ids)
    found = {name: beside(other.get_submodule(name))[-1].piece.seen for name in attentions}
    return {name: seen for name, seen in found.items() if seen is not None}


def inputs(model: nn.Module, layers: Sequence[str], ids: Tensor) -> dict[str, Tensor]:
    """What layers are given.

    Args:
        model: the network; its additions do not act here.
        layers: their names.
        ids: ``int64 [examples, places]``.

    Returns:
        Layer → its first argument; none for one that is called without.
    """
    ran = watched(_bare(model), layers, ids)
    return {name: given[0].detach() for name, (given, _) in ran.items() if given and isinstance(given[0], Tensor)}


def _bare(model: nn.Module) -> nn.Module:
    """A copy in which no addition acts."""
    other = copy.deepcopy(model).eval()
    for part in other.modules():
        if isinstance(part, Added):
            part.active = False
    return other
