"""A model from a GGUF file with its weights as they lie there, at 4 or 8 bits; nothing is widened on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from metaft.errors import MetaftError
from metaft.models.gguf_file import Stored, contents, stored_bytes
from metaft.models.number_forms import FORMS
from metaft.models.quantised_layers import becomes, hold

READ, FLOATING = ("Q4_0", "Q4_1", "Q8_0"), ("F32", "F16", "BF16")


class _WithoutMemory(TorchFunctionMode):
    """What is made empty has no memory yet; what is computed, such as the angles of rotary positions, has."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Torch's function."""
        more = {"device": "meta"} if func is torch.empty else {}
        return func(*args, **{**(kwargs or {}), **more})


def read_quantised(file: Path, config: Any, how: dict[str, Any]) -> Any:
    """A model whose linear layers and embedding hold the bytes of the file.

    Args:
        file: the GGUF file.
        config: of the model, by transformers.
        how: what else its class is told.

    Returns:
        The model, without its matrix of words.

    Raises:
        MetaftError: if its weights are in a form that is not known here, or lie in another order than in its layers, or
            some are missing.
    """
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        LlamaTensorProcessor,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    held = contents(file)
    # A Llama's queries and keys have their rows in another order, which whole rows can be put into.
    kind = TENSOR_PROCESSORS.get(held.architecture, TensorProcessor)
    if kind not in (TensorProcessor, LlamaTensorProcessor):
        raise MetaftError(f"base=quantised reads Llamas and their kin, and {file.name} holds a {held.architecture}")
    with _WithoutMemory():
        model = AutoModel.from_config(config, **how)
    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(config)
    order, layers = kind(config=config.to_dict()), dict(model.named_modules())
    names = get_gguf_hf_weights_map(Names(whole), order)
    for name, stored in held.tensors.items():
        place, _, last = names.get(name, "").removeprefix(f"{whole.base_model_prefix}.").rpartition(".")
        layer = layers.get(place)
        if layer is None or last not in layer._parameters:
            continue  # the matrix of words, or the angles of positions
        rows = order.process(weights=stored_bytes(file, stored), name=name).weights
        _fill(layer, last, stored, np.ascontiguousarray(rows), name)
    missing = [name for name, value in (*model.named_parameters(), *model.named_buffers()) if value.is_meta]
    if missing:
        raise MetaftError(f"{file.name} lacks {len(missing)} weights of a {type(model).__name__}, such as {missing[0]}")
    return model


def _fill(layer: nn.Module, own: str, stored: Stored, rows: Any, name: str) -> None:
    """Give a layer what the file holds for it: packed where it can be used so, else as numbers."""
    from gguf import GGMLQuantizationType, dequantize

    if (form := FORMS.get(stored.kind.lower())) is not None:
        packed = torch.from_numpy(rows)
        if own == "weight" and becomes(layer) is not None:
            hold(layer, form, packed)
            return
        value = form.unpack(packed, stored.shape[-1])
    elif stored.kind in FLOATING:
        value = torch.from_numpy(dequantize(rows, GGMLQuantizationType[stored.kind]).astype(np.float32))
    else:
        known = ", ".join((*READ, *FLOATING))
        raise MetaftError(f"{name} lies in the form {stored.kind}; base=quantised reads {known}; leave base out")
    expected = layer.get_parameter(own).shape
    if value.shape != expected:
        raise MetaftError(f"{name} is {list(value.shape)}, and the model has {list(expected)} there")
    setattr(layer, own, nn.Parameter(value))


class Names:
    """A model whose weights are looked through as one: part by part, as theirs is, it takes as long as reading them."""

    def __init__(self, model: Any) -> None:
        self.config, self.state_dict = model.config, model.state_dict

    def named_children(self) -> tuple[()]:
        """None: all weights are in the whole."""
        return ()
