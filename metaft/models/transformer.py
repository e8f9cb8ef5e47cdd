"""The transformer (Vaswani et al. 2017): words to features, features to answers; BERT's, GPT's and Llama's shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from metaft.elementary.packing import packing, through
from metaft.errors import MetaftError
from metaft.models import kv_cache
from metaft.models.added import own_places, own_words, places_before, word_by_word
from metaft.models.attention import additive_mask, attend, rotation, turned
from metaft.models.comparing import of_texts
from metaft.models.layers import Combine
from metaft.models.presets import sizes
from metaft.models.segments import places_within, require_apart
from metaft.models.text_vector import Pool, Signs, TextVector
from metaft.validate import require_count, require_fraction

if TYPE_CHECKING:
    from metaft.data.texts.tokenizer import Tokenizer

Shape = Literal["bert", "gpt", "llama"]
SHAPES: dict[str, dict[str, Any]] = {
    "bert": {"causal": False, "norm": nn.LayerNorm, "before": False, "epsilon": 1e-12, "llama": False},
    "gpt": {"causal": True, "norm": nn.LayerNorm, "before": True, "epsilon": 1e-5, "llama": False},
    "llama": {"causal": True, "norm": nn.RMSNorm, "before": True, "epsilon": 1e-5, "llama": True},
}
"""Shape → direction, norm and its place. Llama's places are rotary, feed-forward is gated, layers have no biases."""


class Attention(nn.Module):
    """Every place asks all places (ibid., eq. 1 and §3.2.2), with fewer heads for keys and values if wished.

    Args:
        width: of a place.
        heads: of queries; they share the width.
        key_heads: of keys and values (Ainslie et al. 2023).
        biases: whether the four layers have some.
    """

    def __init__(self, width: int, heads: int, key_heads: int, biases: bool) -> None:
        super().__init__()
        self.heads, self.key_heads, self.size = heads, key_heads, width // heads
        self.query = nn.Linear(width, heads * self.size, bias=biases)
        self.key = nn.Linear(width, key_heads * self.size, bias=biases)
        self.value = nn.Linear(width, key_heads * self.size, bias=biases)
        self.output = nn.Linear(heads * self.size, width, bias=biases)

    def forward(self, x: Tensor, mask: Tensor, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        """What each place makes of all of them.

        Args:
            x: ``[examples, places, width]``.
            mask: added to the scores, ``[examples, 1, places, places]`` or what broadcasts to it.
            turn: cosines and sines of rotary places, ``[examples or 1, 1, places, size]`` each; None where there are
                none.

        Returns:
            ``[examples, places, width]``.
        """
        split = lambda y, heads: y.reshape(*y.shape[:-1], heads, self.size).transpose(1, 2)
        query, key, value = (
            split(layer(x), heads)
            for layer, heads in ((self.query, self.heads), (self.key, self.key_heads), (self.value, self.key_heads))
        )
        if turn is not None:
            query, key = turned(query, turn), turned(key, turn)
        return self.output(attend(self, query, key, value, mask).flatten(-2))


class FeedForward(nn.Module):
    """Two layers at each place by itself (ibid., §3.3), or three, one of them a gate (Shazeer 2020).

    Args:
        width: of a place.
        inner: of the hidden layer.
        gated: SiLU of a gate times the hidden layer, instead of GELU of it.
        biases: whether the layers have some.
    """

    def __init__(self, width: int, inner: int, gated: bool, biases: bool) -> None:
        super().__init__()
        self.gate = nn.Linear(width, inner, bias=biases) if gated else None
        self.up = nn.Linear(width, inner, bias=biases)
        self.down = nn.Linear(inner, width, bias=biases)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]`` → ``[..., width]``."""
        return self.down(gelu(self.up(x)) if self.gate is None else silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """Attention, then feed-forward, each beside a residual stream; norms before them, or after the sum.

    Args:
        attention: the one.
        feed_forward: the other.
        norms: one for each.
        before: whether the norm stands before (Xiong et al. 2020) or after, as in the first transformers.
        dropout: share of a part's answers that is dropped.
    """

    def __init__(
        self, attention: Attention, feed_forward: FeedForward, norms: tuple[nn.Module, nn.Module], before: bool,
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        self.attention_norm, self.feed_forward_norm = norms
        self.before, self.dropout = before, nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        """``[examples, places, width]`` → likewise."""
        if self.before:
            x = x + self.dropout(self.attention(self.attention_norm(x), mask, turn))
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, mask, turn)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class Embedding(nn.Module):
    """A vector for each word, and one for each place where places are learned.

    Args:
        vocabulary: how many words.
        width: of a vector.
        places: how many places have one; 0 for none.
        norm: of the sum, or None.
        dropout: share of it that is dropped.
        separator: the number behind which the second of two segments begins, if segments have a vector each.
    """

    def __init__(
        self, vocabulary: int, width: int, places: int, norm: nn.Module | None, dropout: float, separator: int | None
    ) -> None:
        super().__init__()
        self.words, self.separator = nn.Embedding(vocabulary, width), separator
        self.places = nn.Embedding(places, width) if places else None
        self.segments = nn.Embedding(2, width) if separator is not None else None
        self.norm, self.dropout = norm, nn.Dropout(dropout)

    def forward(self, ids: Tensor, first: int | Tensor = 0, within: Tensor | None = None) -> Tensor:
        """Vectors of words.

        Args:
            ids: ``int64 [examples, places]``.
            first: the place of the first word, or that of each text, ``int64 [examples, 1]``.
            within: how far each word is from that, ``int64 [examples, places]``; one further each if None.

        Returns:
            ``[examples, places, width]``.

        Raises:
            MetaftError: if there are more words than places.
        """
        x = self.words(ids)
        if self.places is not None:
            words = ids.shape[-1] if within is None else int(within.max()) + 1
            end = words + (first if isinstance(first, int) else int(first.max()))
            if end > self.places.num_embeddings:
                raise MetaftError(
                    f"a text of {end} words, and this transformer has {self.places.num_embeddings} places; "
                    "cut the text, or give it more: transformer:places=…"
                )
            within = torch.arange(ids.shape[-1], device=ids.device) if within is None else within
            x = x + self.places(within + first)
        if self.segments is not None and self.separator is not None:
            ended = torch.eq(ids, self.separator).long()
            x = x + self.segments((ended.cumsum(-1) - ended).clamp(max=1))
        return self.dropout(x if self.norm is None else self.norm(x))


class Transformer(nn.Module):
    """Words, blocks of attention and feed-forward, one vector for the text, a linear head.

    Vaswani et al. 2017; shapes of Devlin et al. 2019 (bert), Radford et al. 2019 (gpt) and Touvron et al. 2023 (llama).
    Number 0 is padding: it is never asked, and counts nowhere, so that no answer depends on how much of it there is.

    Args:
        vocabulary: how many words there are.
        outputs: how many numbers it answers with.
        preset: sizes by name, bert-tiny, bert-mini, bert-small, bert-medium, bert-base, minilm, gpt2, stories15m or
            smollm2-135m; what else is given goes before them.
        shape: bert (both directions), gpt or llama (each place sees those before it); the next three say otherwise.
            Without a preset, bert.
        causal: whether a place sees only those before it.
        rotary: whether queries and keys are turned by their place, instead of a vector learned for each.
        norm_first: whether norms stand before a block's parts, instead of after their sum.
        layers: how many blocks; 4 without a preset.
        width: of a place; 256 without a preset.
        heads: of attention; 4 without a preset.
        key_heads: heads of keys and values; as many as heads if None.
        inner: width of the hidden layer of feed-forward; four times the width if None.
        places: how many words a text may have, where places are learned; 512 without a preset.
        dropout: share of the parts' answers that is dropped in training.
        separator: the number of the word between two segments (``[SEP]``); each has a vector then, as in BERT.
        features: the layers whose states a text's vector is made of, see `TextVector`: last, all, 2, -2, 4..6, -4..
        combine: "concatenate" or "average" them.
        pool: over which places: "mean", "first", "last" or "marked"; by default the last word of a causal one, else the
            mean.
        signs: of "marked", the numbers of the signs; those of $ and # in the data's tokenizer if nothing is said.
        length: to which a text's vector is scaled; it stays as it is if None.

    Raises:
        MetaftError: if a number does not fit the others.
    """

    head_layer = "head"
    says_words = True
    tokenizer: str | Tokenizer | None = None
    """What its numbers stand for, or what that tokenizer is asked for as; None where nobody says."""

    def __init__(
        self,
        vocabulary: int,
        outputs: int,
        *,
        preset: str | None = None,
        shape: Shape | None = None,
        causal: bool | None = None,
        rotary: bool | None = None,
        norm_first: bool | None = None,
        layers: int | None = None,
        width: int | None = None,
        heads: int | None = None,
        key_heads: int | None = None,
        inner: int | None = None,
        places: int | None = None,
        dropout: float = 0.0,
        separator: int | None = None,
        features: str = "last",
        combine: Combine = "concatenate",
        pool: Pool | None = None,
        signs: Signs = (),
        length: float | None = None,
    ) -> None:
        super().__init__()
        asked = {"shape": shape, "layers": layers, "width": width, "heads": heads, "key_heads": key_heads,
                 "inner": inner, "places": places}  # fmt: skip
        sized = sizes(preset, asked)
        shape, layers, width, heads, places = (sized[name] for name in ("shape", "layers", "width", "heads", "places"))
        key_heads, inner = sized.get("key_heads", heads), sized.get("inner")
        for name, value in (("vocabulary", vocabulary), ("outputs", outputs), ("layers", layers), ("width", width),
                            ("heads", heads), ("key_heads", key_heads), ("places", places)):  # fmt: skip
            require_count(value, name, 1)
        require_fraction(dropout, "dropout")
        if width % heads or heads % key_heads:
            raise MetaftError(f"width {width} must be a multiple of heads {heads}, and that of key_heads {key_heads}")
        if shape not in SHAPES:
            raise MetaftError(f"unknown shape {shape!r} of a transformer; known: {', '.join(SHAPES)}")
        how = SHAPES[shape]
        said = {"causal": causal, "rotary": rotary, "before": norm_first}
        how = {"rotary": how["llama"], **how} | {name: value for name, value in said.items() if value is not None}
        self.causal, self.rotary, self.size = how["causal"], how["rotary"], width // heads
        if self.rotary and width // heads % 2:
            raise MetaftError(f"rotary places turn pairs of numbers: a head of width {width // heads} is odd")

        norm = lambda: how["norm"](width, eps=how["epsilon"])
        self.embedding = Embedding(
            vocabulary, width, 0 if self.rotary else places, None if how["before"] else norm(), dropout, separator
        )
        gated = how["llama"]
        inner = 4 * width if inner is None else require_count(inner, "inner", 1)
        self.blocks = nn.ModuleList(
            Block(
                Attention(width, heads, key_heads, not gated),
                FeedForward(width, inner, gated, not gated),
                (norm(), norm()),
                how["before"],
                dropout,
            )
            for _ in range(layers)
        )
        self.norm = norm() if how["before"] else nn.Identity()
        self.vector = TextVector(str(features), combine, pool or ("last" if self.causal else "mean"), signs, length)
        self.input = nn.Identity()  # where additions give it more words
        self.head = nn.Linear(self.vector.width(layers + 1, width), outputs)
        self.word_head: nn.Module | None = None
        self.apply(drawn)

    @classmethod
    def fitting(cls, outputs: int, input_shape: tuple[int, ...], *, vocabulary: int = 4096, **options: Any) -> Self:
        """The network for texts.

        Args:
            outputs: how many numbers it answers with.
            input_shape: ``(places,)``, of the longest text, or ``(2, places)`` for pairs; empty if nobody says it.
            vocabulary: how many words there are.
            options: as of the class.

        Raises:
            MetaftError: if examples are no texts.
        """
        if input_shape[:-1] not in ((), (2,)):
            raise MetaftError(
                f"a transformer reads texts, int64 [places], or pairs of them; these examples are {list(input_shape)}: "
                "use conv4, resnet12 or mlp"
            )
        return cls(vocabulary, outputs, **options)

    @property
    def vocabulary(self) -> int:
        """How many words there are, padding among them."""
        return self.embedding.words.num_embeddings

    @property
    def places(self) -> int | None:
        """How many words a text may have; None for any."""
        learned = self.embedding.places
        return None if learned is None else learned.num_embeddings

    @staticmethod
    def most_words(preset: str | None = None, rotary: bool | None = None, **options: Any) -> int | None:
        """How many words a text may have.

        Args:
            preset: as of the class.
            rotary: likewise.
            options: likewise.

        Returns:
            The number; None for any.

        Raises:
            MetaftError: if there is no such preset.
        """
        sized = sizes(preset, options)
        turned = SHAPES.get(sized["shape"], {}).get("llama") if rotary is None else rotary
        places: int = sized["places"]
        return None if turned else places

    def last_states(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """As the last of `states`, of a text's own places; what is read may go on from a `metaft.models.kv_cache`.

        Args:
            ids: ``int64 [examples, places]``, 0 for padding.
            segments: ``int64 [examples, places]``, which of several texts in a row each word is of: each sees itself
                alone. None where a row is one text.

        Returns:
            ``[examples, places, width]``.

        Raises:
            MetaftError: if there are segments, and the network or what is put into it cannot keep them apart.
        """
        read = kv_cache.taken_in(self.input, ids)
        if segments is not None:
            require_apart(self, self.causal, ids, read)
        return own_places(self._states(read, segments)[-1], read, ids.shape[-1], self.vocabulary)

    def states(self, ids: Tensor) -> list[Tensor]:
        """The residual stream after the embedding and after each block.

        Args:
            ids: ``int64 [examples, places]``, 0 for padding.

        Returns:
            layers + 1 times ``[examples, places, width]``; the last is normed.
        """
        return self._states(self.input(ids))

    def _states(self, ids: Tensor, segments: Tensor | None = None) -> list[Tensor]:
        first = kv_cache.words_before() + places_before(self.input)
        within = None if segments is None else places_within(segments)
        x = self.embedding(ids, first, within)
        places = (torch.arange(ids.shape[-1], device=ids.device)[None] if within is None else within) + first
        mask = additive_mask(ids, self.causal, x.dtype, segments)
        packed = packing(ids) if word_by_word(self) else None
        if packed is not None:
            x, places = packed.packed(x), packed.packed(places.expand(ids.shape))
        turn = None
        if self.rotary:
            cosines, sines = rotation(places, self.size, x)
            turn = cosines.unsqueeze(1), sines.unsqueeze(1)  # alike in all heads
        found = [x]
        with through(packed):
            for block in self.blocks:
                found.append(block(found[-1], mask, turn))
            found[-1] = self.norm(found[-1])
        return found if packed is None else [packed.spread(state) for state in found]

    def forward(self, ids: Tensor) -> Tensor:
        """Answers for texts, or for pairs of texts (see `metaft.models.comparing`).

        Args:
            ids: ``int64 [examples, places]`` or ``[examples, 2, places]``, 0 for padding.

        Returns:
            ``[examples, outputs]``.
        """
        return of_texts(self._answers, ids)

    def _answers(self, ids: Tensor) -> Tensor:
        read = self.input(ids)
        return self.head(self.vector(self._states(read), own_words(read, self.vocabulary)))

    def words(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Scores for the word at each place, for the one behind it if causal; their matrix is the embedding's.

        Press & Wolf 2017, "Using the output embedding to improve language models". What a masked language model does
        before, it did in pretraining, and does not change: it is in ``word_head``.

        Args:
            ids: ``int64 [examples, places]``, 0 for padding.
            segments: as for `last_states`.

        Returns:
            ``[examples, places, vocabulary]``.
        """
        return self.word_scores(self.last_states(ids, segments))

    def word_scores(self, states: Tensor) -> Tensor:
        """Scores for words.

        Args:
            states: as `last_states` gives them, ``[..., width]``.

        Returns:
            ``[..., vocabulary]``.
        """
        vectors = self.embedding.words.weight
        return nn.functional.linear(states, vectors) if self.word_head is None else self.word_head(states, vectors)

    def word_vectors(self, numbers: Tensor) -> Tensor:
        """What `word_scores` holds states against.

        Args:
            numbers: of words, ``int64 [words]``.

        Returns:
            ``[words, width]``.
        """
        return self.embedding.words.weight[numbers]


def drawn(layer: nn.Module) -> None:
    """Weights with a deviation of 0.02, biases 0 (Devlin et al. 2019; Radford et al. 2019)."""
    if isinstance(layer, nn.Linear | nn.Embedding):
        nn.init.normal_(layer.weight, std=0.02)
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
