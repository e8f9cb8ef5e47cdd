"""Encoders and causal models of Hugging Face as networks of ours: text in, answers out, differentiable twice."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from metaft.data.texts import tokenizer
from metaft.data.texts.labelled_texts import PADDING
from metaft.elementary.packing import packing, through
from metaft.elementary.packing import padded as without_packing
from metaft.errors import MetaftError, first_line, nearest
from metaft.models import gguf
from metaft.models.added import Added, own_places, own_words, places_before, word_by_word
from metaft.models.attention import attend
from metaft.models.packed_layers import QuantisedEmbedding
from metaft.models.packings import OURS
from metaft.models.pretrained import folder_of
from metaft.models.quantised import pack_layers
from metaft.models.text_vector import TextVector
from metaft.models.transformer import additive_mask
from metaft.validate import number, require_fraction

ATTENTION = "metaft"
"""What our attention is called among theirs."""

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
        self._first_place = self._origin() if "position_ids" in inspect.signature(model.forward).parameters else None
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
            input_shape: ``(places,)``, of the longest text; empty if nobody says it.
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
            model = _read(path, weights == "pretrained", base == "quantised")
        if dropout is not None:
            _thin(model, _share(path, dropout))
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # of sentence order; nothing here asks it
        most = _places(model.config)
        if input_shape and most is not None and input_shape[0] > most:
            raise MetaftError(f"hf:{path} has {most} places, and these texts up to {input_shape[0]} words; cut them")
        causal = _is_causal(model, path)
        signs = tokenizer.asked(f"hf:{path}", ()).signs() if options.get("pool") == "marked" else ()
        given: dict[str, Any] = {"pool": "last" if causal else "mean", **options, "signs": signs}
        given["features"] = str(given.get("features", "last"))
        if given.get("length") is not None:
            given["length"] = number(given["length"], f"the length of hf:{path}'s vectors")
        vector = TextVector(**given)
        made = cls(model, outputs, causal, vector, _separator(model, path))
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
        library = _library()
        for part in self.model.modules():
            if isinstance(part, library.PreTrainedModel):
                library.utils.output_capturing._CAN_RECORD_REGISTRY[part] = part._can_record_outputs

    @torch.no_grad()
    def _origin(self) -> int | None:
        """The number of the first place, which in RoBERTa is behind that of its padding; None where it is not found."""
        ids = torch.tensor([[5, 7, 6]])
        mode = self.model.training
        self.model.eval()
        plain = self._read(ids, {})[-1]
        padding = getattr(self.model.config, "pad_token_id", None)
        found = None
        for first in (0, *(() if padding is None else (padding + 1,))):
            told = self._read(ids, {"position_ids": torch.arange(first, first + 3)[None]})[-1]
            if torch.allclose(plain, told, rtol=1e-4, atol=2e-5):
                found = first
                break
        self.model.train(mode)
        return found

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
        """Answers for texts.

        Args:
            ids: ``int64 [examples, places]``, 0 for padding.

        Returns:
            ``[examples, outputs]``.
        """
        ids = self.input(ids)
        last = self.vector.features == "last"
        states = self._run(ids) if last else self._states(ids)
        return self.head(self.vector(states, own_words(ids, self.vocabulary)))

    @property
    def vocabulary(self) -> int:
        """How many words there are, padding among them."""
        return self.embedding.num_embeddings

    @property
    def places(self) -> int | None:
        """How many words a text may have; None for any."""
        most = _places(self.model.config)
        return most if most is None else most - (self._first_place or 0)

    @property
    def embedding(self) -> nn.Embedding:
        """The vectors of words."""
        found: Any = self.model.get_input_embeddings()  # type: ignore[operator]
        return found

    def words(self, ids: Tensor) -> Tensor:
        """Scores for the word behind each place, of a causal model whose matrix of words is that of its embedding.

        Args:
            ids: ``int64 [examples, places]``, 0 for padding.

        Returns:
            ``[examples, places, vocabulary]``.

        Raises:
            MetaftError: if it has another matrix, or reads in both directions.
        """
        if not self.says_words:
            raise MetaftError(f"this {type(self.model).__name__} has no scores for words that are its embedding's")
        words, read = self.embedding, self.input(ids)
        last = own_places(self._run(read)[-1], read, ids.shape[-1], self.vocabulary)
        return words.scores(last) if isinstance(words, QuantisedEmbedding) else nn.functional.linear(last, words.weight)

    def _run(self, ids: Tensor, **more: Any) -> list[Tensor]:
        """The states that theirs answers with: the last, or those of all layers."""
        first = places_before(self.input)
        if first and self._first_place is None:
            raise MetaftError(f"this {type(self.model).__name__} is not told of places, so that none can be left free")
        most = self.places
        if most is not None and first + ids.shape[-1] > most:
            raise MetaftError(f"a text of {first + ids.shape[-1]} words, and this model has {most} places; cut it")
        places = torch.arange(ids.shape[-1], device=ids.device)[None]
        if self.separator is not None:
            more["token_type_ids"] = parts_of_pair(ids, self.separator)
        packed = packing(ids) if self._first_place is not None and word_by_word(self) else None
        mask = self._mask(ids)
        if packed is not None:
            ids, places = packed.packed(ids), packed.places()
            more |= {"token_type_ids": packed.packed(more["token_type_ids"])} if "token_type_ids" in more else {}
        if first or packed is not None:
            more["position_ids"] = places + first + (self._first_place or 0)
        with through(packed):
            found = self._read(ids, more, mask)
        return found if packed is None else [packed.spread(state) for state in found]

    def _read(self, ids: Tensor, more: dict[str, Any], mask: Tensor | None = None) -> list[Tensor]:
        more = {**more, "use_cache": False} if self.causal else more
        answer = self.model(input_ids=ids, attention_mask=self._mask(ids) if mask is None else mask, **more)
        return [answer.last_hidden_state] if answer.hidden_states is None else list(answer.hidden_states)

    def _mask(self, ids: Tensor) -> Tensor:
        mask = additive_mask(ids, self.causal, next(self.model.parameters()).dtype)
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


def places(path: str) -> int | None:
    """How many words a text may have for a pretrained model.

    Args:
        path: its name or folder, see `pretrained.folder_of`.

    Returns:
        The number; None for any.

    Raises:
        MetaftError: if there is no such model, or its settings cannot be read.
    """
    transformers, folder = _library(), folder_of(path)
    try:
        file = gguf.file_of(folder)
        config = _config(transformers, folder) if file is None else gguf.config(file)
        most = _places(config)
        return most if most is None else most - _free_places(config)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise MetaftError(f"hf:{path} cannot be read: {first_line(error)}") from None


def _places(config: Any) -> int | None:
    return getattr(config, "max_position_embeddings", None)


def _free_places(config: Any) -> int:
    """How many of the places of a model come before a text's first, by its kind: RoBERTa counts from its padding."""
    of_roberta = any(kind in str(config.model_type) for kind in ("roberta", "camembert", "mpnet"))
    return (getattr(config, "pad_token_id", None) or 0) + 1 if of_roberta else 0


def _config(transformers: Any, folder: Path) -> Any:
    return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _read(path: str, pretrained: bool, quantised: bool) -> Any:
    """A model of theirs, with the weights of its folder or drawn anew."""
    transformers = _library()
    folder = folder_of(path)
    try:
        file = gguf.file_of(folder)
        if quantised and (file is None or not pretrained):
            raise MetaftError(
                f"hf:{path}: base=quantised leaves weights as they lie in a GGUF file, and these are "
                f"{'of a folder without one' if file is None else 'drawn anew'}; take base={' or base='.join(OURS)}"
            )
        if file is not None:
            return gguf.read(file, pretrained, ATTENTION, quantised)
        config = _config(transformers, folder)
        config._attn_implementation = ATTENTION
        how: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": ATTENTION, "trust_remote_code": False}
        if not pretrained:
            return transformers.AutoModel.from_config(config, **how)
        how |= {"use_safetensors": True, "local_files_only": True}
        return transformers.AutoModel.from_pretrained(folder, config=config, **how)
    except MetaftError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise MetaftError(f"hf:{path} cannot be read: {first_line(error)}") from None


@contextmanager
def without_bars() -> Iterator[None]:
    """Let their library show no bars of progress."""
    bars = _library().utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _share(path: str, text: str | float) -> float:
    share = number(text, f"the dropout of hf:{path}")
    require_fraction(share, f"the dropout of hf:{path}")
    return share


def _thin(model: Any, share: float) -> None:
    """Let all random layers of a model drop a share; an attention of theirs holds its own as a number."""
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = share
        if isinstance(getattr(part, "attention_dropout", None), float):
            part.attention_dropout = share


def _separator(model: Any, path: str) -> int | None:
    """The number of ``[SEP]``, if the model has embeddings of a pair's two texts and its tokenizer such a word."""
    told = "token_type_ids" in inspect.signature(model.forward).parameters
    if not told or (getattr(model.config, "type_vocab_size", None) or 0) < 2:
        return None
    number = getattr(model.config, "sep_token_id", None)
    if number is None and (folder_of(path) / tokenizer.FILE).is_file():
        number = tokenizer.asked(f"hf:{path}", ()).find("[SEP]")
    return number


def _is_causal(model: nn.Module, path: str) -> bool:
    """Whether a place sees only those before it, as the model's attention layers say."""
    said = {bool(part.is_causal) for part in model.modules() if hasattr(part, "is_causal")}
    if len(said) != 1:
        raise MetaftError(
            f"hf:{path}: whether a {type(model).__name__} reads in one direction or in both is not clear from its "
            "layers; only encoders and causal models can be used"
        )
    return said.pop()


def written_out(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention in plain operations, as Hugging Face's interface wants it.

    Args:
        module: the layer.
        query: ``[examples, heads, places, size]``.
        key: likewise, perhaps of fewer heads.
        value: likewise.
        attention_mask: added to the scores.
        scaling: of the scores; one over the root of the size if None.
        dropout: share of weights that is dropped in training.

    Returns:
        ``[examples, places, heads, size]``, and None for the weights.
    """
    return attend(module, query, key, value, attention_mask, scaling, dropout).contiguous(), None


def _library() -> Any:
    try:
        import transformers
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import eager_mask
    except ImportError:
        raise MetaftError("models of Hugging Face need the extra text: pip install 'metaft[text]'") from None
    AttentionInterface.register(ATTENTION, written_out)
    AttentionMaskInterface.register(ATTENTION, eager_mask)
    return transformers
