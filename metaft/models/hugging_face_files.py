"""Models of Hugging Face as they lie in folders: read, asked for their places and direction, given our attention."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metaft.data.texts import tokenizer
from metaft.errors import MetaftError, first_line
from metaft.models import gguf
from metaft.models.attention import attend
from metaft.models.number_forms import OURS
from metaft.models.pretrained import folder_of

ATTENTION = "metaft"
"""What our attention is called among theirs."""


def places(path: str) -> int | None:
    """How many words a text may have for a pretrained model.

    Args:
        path: its name or folder, see `pretrained.folder_of`.

    Returns:
        The number; None for any.

    Raises:
        MetaftError: if there is no such model, or its settings cannot be read.
    """
    transformers, folder = library(), folder_of(path)
    try:
        file = gguf.file_of(folder)
        config = _config(transformers, folder) if file is None else gguf.config(file)
        with torch.device("meta"):  # its layers, without weights
            return places_of(transformers.AutoModel.from_config(config, trust_remote_code=False))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise MetaftError(f"hf:{path} cannot be read: {first_line(error)}") from None


def places_of(model: Any) -> int | None:
    """How many words a text may have; None for any.

    Args:
        model: of theirs; its weights need not be there.
    """
    most = _places(model.config)
    return None if most is None else most - first_place(model)


def _places(config: Any) -> int | None:
    return getattr(config, "max_position_embeddings", None)


def first_place(model: Any) -> int:
    """The number of the place that a text's first word stands at: in RoBERTa and its kin that behind their padding's.

    Args:
        model: of theirs; its weights need not be there.
    """
    most = _places(model.config)
    found = [
        part.padding_idx
        for part in model.modules()
        if isinstance(part, nn.Embedding) and part.padding_idx is not None and part.num_embeddings == most
    ]
    return found[0] + 1 if found else 0


def _config(transformers: Any, folder: Path) -> Any:
    return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def read(path: str, pretrained: bool, quantised: bool) -> Any:
    """A model of theirs.

    Args:
        path: its name or folder, see `pretrained.folder_of`.
        pretrained: with the weights of its folder, or drawn anew.
        quantised: whether its matrices remain as they lie in a GGUF file.

    Returns:
        The model, whose attention is ours.

    Raises:
        MetaftError: if there is none, or it cannot be read.
    """
    transformers = library()
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
    bars = library().utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def thin(model: Any, share: float) -> None:
    """Let all random layers of a model drop a share; an attention of theirs holds its own as a number.

    Args:
        model: of theirs.
        share: of a layer's answers.
    """
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = share
        if isinstance(getattr(part, "attention_dropout", None), float):
            part.attention_dropout = share


def separator_of(model: Any, path: str) -> int | None:
    """The number of ``[SEP]``, if a model has embeddings of a pair's two texts and its tokenizer such a word.

    Args:
        model: of theirs.
        path: its name or folder.
    """
    told = "token_type_ids" in inspect.signature(model.forward).parameters
    if not told or (getattr(model.config, "type_vocab_size", None) or 0) < 2:
        return None
    number = getattr(model.config, "sep_token_id", None)
    if number is None and (folder_of(path) / tokenizer.FILE).is_file():
        number = tokenizer.asked(f"hf:{path}", ()).find("[SEP]")
    return number


def is_causal(model: nn.Module, path: str) -> bool:
    """Whether a place sees only those before it, as a model's attention layers say.

    Args:
        model: of theirs.
        path: its name or folder, for the message.

    Raises:
        MetaftError: if they do not say it, or not all of them the same.
    """
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


def library() -> Any:
    """The library ``transformers``, which knows our attention.

    Raises:
        MetaftError: if it is not installed.
    """
    try:
        import transformers
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import eager_mask
    except ImportError:
        raise MetaftError("models of Hugging Face need the extra text: pip install 'metaft[text]'") from None
    AttentionInterface.register(ATTENTION, written_out)
    AttentionMaskInterface.register(ATTENTION, eager_mask)
    return transformers
