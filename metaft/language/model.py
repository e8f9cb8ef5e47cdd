"""A language model: a transformer, and a head that says words."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.models.transformer import Transformer, drawn
from metaft.seeds import require_seed


class WordHead(nn.Module):
    """From a place's features to a score for each word, by the words' own vectors (Press & Wolf 2017).

    Args:
        width: of a place.
        vocabulary: how many words there are.
        changed: a layer, GELU and a norm before, and a bias behind, as in BERT; else nothing, as in GPT.
    """

    def __init__(self, width: int, vocabulary: int, changed: bool) -> None:
        super().__init__()
        change = (nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=1e-12)) if changed else ()
        self.change = nn.Sequential(*change)
        self.bias = nn.Parameter(torch.zeros(vocabulary)) if changed else None

    def forward(self, states: Tensor, vectors: Tensor) -> Tensor:
        """Scores.

        Args:
            states: ``[..., width]``.
            vectors: of the words, ``[vocabulary, width]``.

        Returns:
            ``[..., vocabulary]``.
        """
        return F.linear(self.change(states), vectors, self.bias)


def frozen(part: nn.Module) -> nn.Module:
    """A copy without parameters: what they were are buffers, which no checkpoint holds.

    Args:
        part: of a network.
    """
    made = copy.deepcopy(part)
    for layer in made.modules():
        for name, value in list(layer.named_parameters(recurse=False)):
            delattr(layer, name)
            layer.register_buffer(name, value.detach().clone(), persistent=False)
    return made


class LanguageModel(nn.Module):
    """Answers with a score for each word at each place, and for the order of two segments.

    Args:
        transformer: the network; its head is taken away.
        order: whether it answers for the order of two segments, by its first place (Devlin et al. 2019, §3.1).
        seed: of the weights of its heads; torch's global random state is left as it was.

    Raises:
        MetaftError: if the network reads in one direction, and is to tell the order of what it has not read.
    """

    def __init__(self, transformer: Transformer, order: bool = False, seed: int = 0) -> None:
        super().__init__()
        words = transformer.embedding.words
        if order and transformer.causal:
            raise MetaftError("the order of two segments is told by the first place, which has to see them: shape=bert")
        self.transformer, width = transformer, words.embedding_dim
        transformer.head = nn.Identity()  # type: ignore[assignment]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(require_seed(seed))
            self.words = WordHead(width, words.num_embeddings, not transformer.causal)
            self.order = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)) if order else None
            for head in (self.words, self.order):
                if head is not None:
                    head.apply(drawn)

    def with_head(self, seed: int) -> Transformer:
        """The transformer with a fresh head of one output; what says words stays in ``word_head``, as it is.

        Args:
            seed: of the head's weights; torch's global random state is left as it was.
        """
        made, width = self.transformer, self.transformer.embedding.words.embedding_dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(require_seed(seed))
            made.head = nn.Linear(made.vector.width(len(made.blocks) + 1, width), 1).apply(drawn)
        made.word_head = frozen(self.words)
        return made

    def forward(self, ids: Tensor, asked: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Scores of words, and of both orders.

        Args:
            ids: ``int64 [passages, places]``, 0 for padding.
            asked: ``bool [passages, places]``: at which places words are asked for; at all if None.

        Returns:
            ``[passages, places, vocabulary]``, or ``[asked places, vocabulary]``; and ``[passages, 2]``, None where no
            order is told.
        """
        states = self.transformer.states(ids)[-1]
        scores = self.words(states if asked is None else states[asked], self.transformer.embedding.words.weight)
        return scores, None if self.order is None else self.order(states[:, 0])
