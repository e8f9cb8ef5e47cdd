"""LoRA, (IA)³, prompts and prefixes from a folder of the library peft."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from metaft.additions import peft_virtual
from metaft.additions.addition import Addition, Params, Piece
from metaft.additions.ia3 import ScaledInputs, ScaledOutputs
from metaft.additions.linear import is_transposed, linear_kinds, sizes
from metaft.additions.lora import LowRank
from metaft.additions.started import Started
from metaft.errors import MetaftError, first_line

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
ENDINGS = {
    "LORA": {".lora_A.weight": "A", ".lora_B.weight": "B"},
    "IA3": {".ia3_l": "scale"},
}
"""Kind → what the library's names end in, and what ours are called."""
VIRTUAL = (*peft_virtual.PROMPTS, peft_virtual.PREFIX)
"""Kinds that are one table."""
OTHERWISE = (
    "use_dora", "lora_bias", "modules_to_save", "layer_replication", "trainable_token_indices", "target_parameters",
    "alora_invocation_tokens", "use_qalora", "use_bdlora", "velora_config", "kasa_config", "arrow_config",
    "monteclora_config",
)  # fmt: skip
"""Settings of the library under which it computes something else."""


@dataclass(frozen=True)
class StartedLowRank(Started, LowRank):
    """LoRA from values."""


@dataclass(frozen=True)
class StartedInputs(Started, ScaledInputs):
    """(IA)³ before a layer, from values."""


@dataclass(frozen=True)
class StartedOutputs(Started, ScaledOutputs):
    """(IA)³ behind a layer, from values."""


@dataclass(frozen=True)
class PeftFolder(Addition):
    """LoRA, (IA)³, a prompt or a prefix as the library peft has stored it, from its values on.

    LoRA and (IA)³ go to the layers for which the folder has values. In a network that wraps a model of Hugging Face's
    they are looked for in that model.

    Args:
        folder: with adapter_config.json and adapter_model.safetensors.

    Raises:
        MetaftError: if there is none.
    """

    folder: str = ""
    name: ClassVar[str] = "peft"
    silent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (Path(self.folder) / CONFIG).is_file():
            given = f"there is no {CONFIG} in {self.folder}" if self.folder else "the addition peft needs a folder"
            raise MetaftError(f"{given}; give one that peft has written, as in peft:FOLDER")

    def sites(self, model: nn.Module) -> Mapping[str, Piece]:
        """The layers that the folder has values for.

        Raises:
            MetaftError: if it is damaged, holds what cannot be taken over, or names a layer that is not there.
        """
        told, stored = read_config(Path(self.folder)), read_values(Path(self.folder))
        kind = str(told.get("peft_type"))
        if kind in VIRTUAL:
            return peft_virtual.sites(model, kind, stored, self.folder)
        if kind not in ENDINGS:
            known = ", ".join((*ENDINGS, *VIRTUAL))
            raise MetaftError(f"{self.folder} holds {kind} of peft; only {known} can be taken over")
        if strange := [name for name in OTHERWISE if told.get(name)]:
            raise MetaftError(f"{self.folder}: peft's {strange[0]} = {told[strange[0]]} cannot be taken over")
        if told.get("bias", "none") != "none":
            raise MetaftError(f"{self.folder}: biases that peft trained along cannot be taken over; have bias='none'")
        values = _by_layer(stored, ENDINGS[kind], self.folder)
        self._require_targets(told.get("target_modules"), values)
        modules, found = dict(model.named_modules()), {}
        for layer, own in values.items():
            site = _site(modules, layer, self.folder)
            make = self._low_rank if kind == "LORA" else self._scaled
            found[site] = make(layer, own, modules[site], told)
        return found

    def _low_rank(self, layer: str, own: Params, module: nn.Module, told: Mapping[str, Any]) -> Piece:
        rank, (inputs, outputs) = len(own["A"]), sizes(module)
        self._require_shape(layer, own["A"], (rank, inputs))
        self._require_shape(layer, own["B"], (outputs, rank))
        alpha = float(_of_pattern(told.get("alpha_pattern"), layer, told.get("lora_alpha", rank)))
        scale = alpha / (math.sqrt(rank) if told.get("use_rslora") else rank)
        dropout = float(told.get("lora_dropout") or 0.0)
        return StartedLowRank(rank, scale, dropout, is_transposed(module), start=own)

    def _scaled(self, layer: str, own: Params, module: nn.Module, told: Mapping[str, Any]) -> Piece:
        inputs, outputs = sizes(module)
        start, transposed = {"scale": own["scale"].flatten()}, is_transposed(module)
        if own["scale"].shape == (1, inputs):
            return StartedInputs(transposed, start=start)
        self._require_shape(layer, own["scale"], (outputs, 1))
        return StartedOutputs(1.0, transposed, start=start)

    def _require_shape(self, layer: str, value: Tensor, shape: tuple[int, ...]) -> None:
        if value.shape != shape:
            raise MetaftError(
                f"{self.folder}: the values for {layer!r} are {_times(value.shape)}, and the layer there needs "
                f"{_times(shape)}"
            )

    def _require_targets(self, targets: Any, layers: Mapping[str, Any]) -> None:
        """Refuse a target that no layer with values answers to."""
        for target in targets if isinstance(targets, list) else []:
            if not any(layer == target or layer.endswith(f".{target}") for layer in layers):
                raise MetaftError(f"{self.folder}: target {target!r} has no values in {WEIGHTS}")


def read_config(folder: Path) -> dict[str, Any]:
    """What peft was told.

    Args:
        folder: the folder.

    Returns:
        Setting → value.

    Raises:
        MetaftError: if it cannot be read.
    """
    try:
        told = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise MetaftError(f"{folder / CONFIG} is damaged: {first_line(error)}") from None
    if not isinstance(told, dict):
        raise MetaftError(f"{folder / CONFIG} is damaged: it holds no settings")
    return told


def read_values(folder: Path) -> Params:
    """What peft has stored.

    Args:
        folder: the folder.

    Returns:
        The library's name → value.

    Raises:
        MetaftError: if there is nothing, it is pickled, or damaged.
    """
    if not (folder / WEIGHTS).is_file():
        raise MetaftError(f"there is no {WEIGHTS} in {folder}; pickled files are not read")
    try:
        return load_file(folder / WEIGHTS)
    except (SafetensorError, ValueError) as error:
        raise MetaftError(f"{folder / WEIGHTS} is damaged: {first_line(error)}") from None


def _by_layer(stored: Params, endings: Mapping[str, str], folder: str) -> dict[str, Params]:
    """Layer, as the library calls it → values by our names."""
    found: dict[str, Params] = {}
    for name, value in stored.items():
        ending = next((e for e in endings if name.endswith(e)), None)
        if ending is None or not name.startswith(PREFIX):
            raise MetaftError(f"{folder}: {name!r} in {WEIGHTS} has no place in a network; only values for layers have")
        layer = name.removeprefix(PREFIX).removesuffix(ending)
        found.setdefault(layer, {})[endings[ending]] = value.float() if value.dtype != torch.float64 else value
    for layer, own in found.items():
        if missing := [ending for ending, name in endings.items() if name not in own]:
            raise MetaftError(f"{folder}: {WEIGHTS} lacks {PREFIX}{layer}{missing[0]}")
    if not found:
        raise MetaftError(f"{folder}: {WEIGHTS} holds nothing")
    return found


def _site(modules: Mapping[str, nn.Module], layer: str, folder: str) -> str:
    """Where a layer stands in a network: in the model that it wraps, or in itself; with a head or without."""
    bare = layer.partition(".")[2]
    for site in (f"model.{layer}", layer, f"model.{bare}", bare):
        if isinstance(modules.get(site), linear_kinds()):
            return site
    raise MetaftError(f"{folder} has values for {layer!r}, and this network has no linear layer of that name")


def _of_pattern(pattern: Mapping[str, Any] | None, layer: str, otherwise: Any) -> Any:
    """The value of the first pattern that a layer's name ends in, as the library has it."""
    for key, value in (pattern or {}).items():
        if re.fullmatch(rf"(.*\.)?({key})", layer):
            return value
    return otherwise


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
