"""Encoders and causal models of Hugging Face as networks of ours: text in, answers out, differentiable twice."""

from __future__ import annotations

import copy
import inspect
from typing import Any, Self

import torch
from torch import Tensor, nn

from metaft.data.texts import tokenizer
from metaft.data.texts.labelled_texts import PADDING
from metaft.elementary.packing import packing, through
from metaft.elementary.packing import padded as without_packing
from metaft.errors import MetaftError, nearest
from metaft.models import kv_cache
from metaft.models.added import Added, own_places, own_words, places_before, word_by_word
from metaft.models.attention import additive_mask
from metaft.models.comparing import of_texts
from metaft.models.hugging_face_files import (
    first_place,
    is_causal,
    library,
    places_of,
    read,
    separator_of,
    thin,
    without_bars,
)
from metaft.models.number_forms import OURS
from metaft.models.quantised import pack_layers
from metaft.models.quantised_layers import QuantisedEmbedding
from metaft.models.segments import places_within, require_apart
from metaft.models.text_vector import TextVector
from metaft.validate import number, require_fraction

_HOOKED, _COLLECTING = "_output_capturing_hooks_installed", "output_capturing_hook"
OF_VECTOR = ("features", "combine", "pool", "length")
OPTIONS = ("weights", "base", "dropout", *OF_VECTOR)
BASES = ("float32", "quantised", *OURS)
"""How its matrices lie in memory."""


class HuggingFace(nn.Module):
    """A model of Hugging Face's, one vector for the text, a linear head.

    Padding is number 0, and is hidden by an additive mask of ours: theirs branch on its values, which tasks cannot do
    together. Attention is written out, as the fused one has no second derivative on a CPU.

    Some of theirs compute in float32 whatever the weights are: the norms of a Llama, and its rotary positions. In
    float64 their derivatives are right to seven digits, and finite differences with a step h only to 1e-7 / h.

    Args:
        model: answers with ``last_hidden_state`` for ``input_ids`` and a 4-dimensional ``attention_mask``.
        outputs: how many numbers it answers with.
        causal: whether a place sees only those before it.
        vector: what a text's vector is; the last place of a causal model, else the mean, if None.
        separator: the number of ``[SEP]`` in a model that tells the second text of a pair from the first; else None.
    """

    head_layer = "head"
    tokenizer: str | tokenizer.Tokenizer | None = None
    """What its numbers stand for, or what that tokenizer is asked for as; None where nobody says."""

    def __init__(
        self, model: nn.Module, outputs: int, causal: bool, vector: TextVector | None = None,
        separator: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.causal, self.separator = model, causal, separator
        self.input = nn.Identity()  # where additions give it more words
        self.places, self._first_place, self._told_places = places_of(model), first_place(model), self._is_told_places()
        self.vector = vector or TextVector(pool="last" if causal else "mean")
        config: Any = model.config
        self.head = nn.Linear(self.vector.width(config.num_hidden_layers + 1, config.hidden_size), outputs)

    @classmethod
    def fitting(
        cls, outputs: int, input_shape: tuple[int, ...], *, path: str, weights: str = "pretrained",
        base: str = "float32", dropout: str | float | None = None, **options: Any,
    ) -> Self:  # fmt: skip
        """The network for texts.

        Args:
            outputs: how many numbers it answers with.
            input_shape: ``(places,)``, of the longest text, or ``(2, places)``; empty if nobody says it.
            path: a pretrained model's name or folder, see `pretrained.folder_of`.
            weights: "pretrained", or "random" for the same network drawn anew.
            base: how its matrices lie in memory: "float32"; "quantised" as they lie in a GGUF file; "nf4" or "q8_0",
                quantised when they are read. Quantised ones never move.
            dropout: share of a layer's answers that is dropped in training; as the model has it if None.
            options: ``features``, ``combine``, ``pool`` and ``length``: what a text's vector is, see `TextVector`.
                Words are marked by ``$ … $`` and ``# … #``.

        Raises:
            MetaftError: if there is no such model, it cannot be read, texts are longer than it has places for, its
                direction is not clear, its answers hang on padding, or an option is unknown.
        """
        for name in options:
            if name not in OF_VECTOR:
                raise MetaftError(
                    f"hf:{path} has no option {name!r}{nearest(name, OPTIONS)}; known: {', '.join(OPTIONS)}"
                )
        if weights not in ("pretrained", "random"):
            raise MetaftError(f"hf:{path}: weights = {weights}: should be 'pretrained' or 'random'")
        if base not in BASES:
            raise MetaftError(f"hf:{path} has no base {base!r}{nearest(base, BASES)}; known: {', '.join(BASES)}")
        with without_bars():
            model = read(path, weights == "pretrained", base == "quantised")
        if dropout is not None:
            share = number(dropout, f"the dropout of hf:{path}")
            require_fraction(share, f"the dropout of hf:{path}")
            thin(model, share)
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # of sentence order; nothing here asks it
        most = places_of(model)
        if input_shape and most is not None and input_shape[-1] > most:
            raise MetaftError(f"hf:{path} has {most} places, and these texts up to {input_shape[-1]} words; cut them")
        causal = is_causal(model, path)
        signs = tokenizer.asked(f"hf:{path}", ()).signs() if options.get("pool") == "marked" else ()
        given: dict[str, Any] = {"pool": "last" if causal else "mean", **options, "signs": signs}
        given["features"] = str(given.get("features", "last"))
        if given.get("length") is not None:
            given["length"] = number(given["length"], f"the length of hf:{path}'s vectors")
        vector = TextVector(**given)
        made = cls(model, outputs, causal, vector, separator_of(model, path))
        made.tokenizer = f"hf:{path}"
        made._require_padding(path)
        if base in OURS:
            pack_layers(made, base, cls.head_layer)
            for p in made.parameters():
                p.data = p.data.clone()  # no part of the file any more, which is in memory as long as one is
        return made

    def identity(self) -> str:
        """All that its answers depend on beside its weights."""
        config: Any = self.model.config
        added = [(name, part.active, part.piece) for name, part in self.named_modules() if isinstance(part, Added)]
        return f"{config.to_json_string(use_diff=False)} {self.causal} {self.separator} {self.vector!r} {added!r}"

    def __getstate__(self) -> dict[str, Any]:
        """Without the hooks by which theirs collect states, which cannot be pickled; they are made again when asked."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        plain = copy.deepcopy(self.model, {id(t): t for t in tensors})
        for part in plain.modules():
            vars(part).pop(_HOOKED, None)
            for key in [
                k for k, hook in part._forward_hooks.items() if _COLLECTING in getattr(hook, "__qualname__", "")
            ]:
                del part._forward_hooks[key]
        return {**vars(self), "_modules": {**self._modules, "model": plain}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a process that has not made such a model, theirs does not know ours, nor what states it can collect."""
        super().__setstate__(state)
        theirs = library()
        for part in self.model.modules():
            if isinstance(part, theirs.PreTrainedModel):
                theirs.utils.output_capturing._CAN_RECORD_REGISTRY[part] = part._can_record_outputs

    @torch.no_grad()
    def _is_told_places(self) -> bool:
        """Whether it answers the same where it is told which places a text's words stand at."""
        if "position_ids" not in inspect.signature(self.model.forward).parameters:
            return False
        ids, mode = torch.tensor([[5, 7, 6]]), self.model.training
        self.model.eval()
        told = {"position_ids": torch.arange(3)[None] + first_place(self.model)}
        plain, same = (self._read(ids, more)[-1] for more in ({}, told))
        self.model.train(mode)
        return torch.allclose(plain, same, rtol=1e-4, atol=2e-5)

    def _require_padding(self, path: str) -> None:
        """Refuse a model whose answers hang on padding all the same, such as one that counts places by it."""
        ids = torch.tensor([[5, 7, 6]])
        training = self.training
        with torch.no_grad(), without_packing():
            plain, padded = (self.eval().states(nn.functional.pad(ids, (0, more)))[-1] for more in (0, 2))
        self.train(training)
        if not torch.allclose(plain, padded[:, :3], rtol=1e-4, atol=2e-5):
            raise MetaftError(f"hf:{path} answers otherwise where a text is padded with number {PADDING}; use another")

    @property
    def says_words(self) -> bool:
        """Whether it has scores for words, see `words`."""
        config: Any = self.model.config
        return bool(self.causal and config.tie_word_embeddings)

    def states(self, ids: Tensor) -> list[Tensor]:
        """The residual stream after the embedding and after each block.

        Args:
            ids: ``int64 [examples, places]``, 0 for padding.

        Returns:
            layers + 1 times ``[examples, places, width]``.
        """
        return self._states(self.input(ids))

    def _states(self, ids: Tensor) -> list[Tensor]:
        return self._run(ids, output_hidden_states=True)

    def forward(self, ids: Tensor) -> Tensor:
        """Answers for texts, or for pairs of texts (see `metaft.models.comparing`).

        Args:
            ids: ``int64 [examples, places]`` or ``[examples, 2, places]``, 0 for padding.

        Returns:
            ``[examples, outputs]``.
        """
        return of_texts(self._answers, ids)

    def _answers(self, ids: Tensor) -> Tensor:
        ids = self.input(ids)
        last = self.vector.features == "last"
        states = self._run(ids) if last else self._states(ids)
        return self.head(self.vector(states, own_words(ids, self.vocabulary)))

    @property
    def vocabulary(self) -> int:
        """How many words there are, padding among them."""
        return self.embedding.num_embeddings

    @property
    def embedding(self) -> nn.Embedding:
        """The vectors of words."""
        found: Any = self.model.get_input_embeddings()  # type: ignore[operator]
        return found

    def words(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Scores for the word behind each place, of a causal model whose matrix of words is that of its embedding.

        Args:
            ids: ``int64 [examples, places]``, 0 for padding.
            segments: as for `last_states`.

        Returns:
            ``[examples, places, vocabulary]``.

        Raises:
            MetaftError: if it has another matrix, or reads in both directions.
        """
        return self.word_scores(self.last_states(ids, segments))

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
        return own_places(self._run(read, segments)[-1], read, ids.shape[-1], self.vocabulary)

    def word_scores(self, states: Tensor) -> Tensor:
        """Scores for words.

        Args:
            states: as `last_states` gives them, ``[..., width]``.

        Returns:
            ``[..., vocabulary]``.

        Raises:
            MetaftError: as `words`.
        """
        if not self.says_words:
            raise MetaftError(f"this {type(self.model).__name__} has no scores for words that are its embedding's")
        words = self.embedding
        if isinstance(words, QuantisedEmbedding):
            return words.scores(states)
        return nn.functional.linear(states, words.weight)

    def word_vectors(self, numbers: Tensor) -> Tensor:
        """What `word_scores` holds states against.

        Args:
            numbers: of words, ``int64 [words]``.

        Returns:
            ``[words, width]``.
        """
        words = self.embedding
        return words(numbers) if isinstance(words, QuantisedEmbedding) else words.weight[numbers]

    def _run(self, ids: Tensor, segments: Tensor | None = None, **more: Any) -> list[Tensor]:
        """The states that theirs answers with: the last, or those of all layers."""
        shifted = bool(places_before(self.input)) or not kv_cache.begins() or segments is not None
        if shifted and not self._told_places:
            raise MetaftError(
                f"this {type(self.model).__name__} is not told of places, so that none can be left free, nor begin anew"
            )
        first = kv_cache.words_before() + places_before(self.input)
        within = torch.arange(ids.shape[-1], device=ids.device)[None] if segments is None else places_within(segments)
        places = within + first
        words = ids.shape[-1] if segments is None else int(within.max()) + 1
        end = words + (first if isinstance(first, int) else int(first.max()))
        if self.places is not None and end > self.places:
            raise MetaftError(f"a text of {end} words, and this model has {self.places} places; cut it")
        if self.separator is not None:
            more["token_type_ids"] = parts_of_pair(ids, self.separator)
        packed = packing(ids) if self._told_places and word_by_word(self) else None
        mask = self._mask(ids, segments)
        if packed is not None:
            ids, places = packed.packed(ids), packed.packed(places.expand(ids.shape))
            more |= {"token_type_ids": packed.packed(more["token_type_ids"])} if "token_type_ids" in more else {}
        if packed is not None or shifted:
            more["position_ids"] = places + self._first_place
        with through(packed):
            found = self._read(ids, more, mask)
        return found if packed is None else [packed.spread(state) for state in found]

    def _read(self, ids: Tensor, more: dict[str, Any], mask: Tensor | None = None) -> list[Tensor]:
        more = {**more, "use_cache": False} if self.causal else more
        answer = self.model(input_ids=ids, attention_mask=self._mask(ids) if mask is None else mask, **more)
        return [answer.last_hidden_state] if answer.hidden_states is None else list(answer.hidden_states)

    def _mask(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        mask = additive_mask(ids, self.causal, next(self.model.parameters()).dtype, segments)
        return mask.expand(-1, -1, ids.shape[-1], -1)


def parts_of_pair(ids: Tensor, separator: int) -> Tensor:
    """Which text of a pair each word belongs to, as BERT is told (Devlin et al. 2019, §3.2).

    Args:
        ids: ``int64 [examples, places]``, 0 for padding.
        separator: the number of ``[SEP]``, the last word of either text.

    Returns:
        ``int64 [examples, places]``: 1 for words behind the first ``[SEP]``, else 0.
    """
    ends = (ids == separator).long()
    return ((ends.cumsum(-1) - ends) > 0).long() * (ids != PADDING)
